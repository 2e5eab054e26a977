"""Array placement: one mesh of all devices; the state is replicated, batches are split evenly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental.mesh_utils import create_hybrid_device_mesh
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def abstract(tree: Any, sharding: NamedSharding) -> Any:
    """The shapes and dtypes of numbers, arrays or their shapes, with this sharding."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=sharding, weak_type=leaf.weak_type
        ),
        jax.eval_shape(lambda leaves: leaves, tree),
    )


@dataclass(frozen=True)
class Layout:
    """The device mesh of a run, with a single axis 'data', and its shardings."""

    mesh: Mesh

    @classmethod
    def over_all_devices(cls) -> "Layout":
        """All devices of this machine."""
        return cls.over(jax.devices())

    @classmethod
    def over(cls, devices: Sequence[jax.Device]) -> "Layout":
        """Devices along one axis of type Auto: Linen's Dropout fails under Explicit axes."""
        axis, count = {"axis_types": (AxisType.Auto,)}, len(devices)
        slices = len({getattr(device, "slice_index", 0) for device in devices})
        if slices > 1:  # of TPUs, which `make_mesh` takes for one
            ordered = create_hybrid_device_mesh((count // slices,), (slices,), devices)
            return cls(Mesh(ordered, ("data",), **axis))
        return cls(jax.make_mesh((count,), ("data",), devices=devices, **axis))

    @classmethod
    def on(cls, device: jax.Device) -> "Layout":
        """A single device."""
        return cls(Mesh(np.array([device]), ("data",), axis_types=(AxisType.Auto,)))

    @property
    def platform(self) -> str:
        """The platform of the devices: 'cpu', 'gpu' or 'tpu'."""
        return self.mesh.devices.flat[0].platform

    @property
    def replicas(self) -> int:
        """The number of devices that share a batch."""
        return self.mesh.size

    @property
    def replicated(self) -> NamedSharding:
        """A full copy of the array on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def numbers(self) -> NamedSharding:
        """The sharding of a recipe's numbers and of a step's metrics: replicated."""
        return self.replicated

    @property
    def batch(self) -> NamedSharding:
        """The leading axis split evenly across the devices."""
        return NamedSharding(self.mesh, PartitionSpec("data"))

    @property
    def batches(self) -> NamedSharding:
        """The second axis of an array (steps, batch, …) split evenly across the devices."""
        return NamedSharding(self.mesh, PartitionSpec(None, "data"))

    def of_state(self, state: Any) -> Any:
        """Returns the sharding of each leaf of a train state, or of its shapes."""
        return jax.tree.map(lambda _: self.replicated, state)

    def rows(self, batch_size: int) -> np.ndarray:
        """Returns the rows of a global batch that this process produces for its devices.

        The sharding determines them, because a mesh may order its devices in any way.

        Returns:
          Sorted row indices, (rows,), int.
        """
        parts = self.batch.addressable_devices_indices_map((batch_size,)).values()
        numbers = np.arange(batch_size)
        return np.unique(np.concatenate([numbers[rows] for (rows,) in parts]))

    def replicate(self, tree: Any) -> Any:
        """Copies arrays and numbers to every device."""
        return self.put(tree, self.replicated)

    def put(self, tree: Any, sharding: NamedSharding) -> Any:
        """Copies arrays and numbers, which every process has whole, to the devices.

        Each process copies its devices' parts; `device_put` would compare the processes' arrays.
        """
        if sharding.is_fully_addressable:
            return jax.device_put(tree, sharding)

        def parts(leaf: Any) -> jax.Array:
            array = np.asarray(leaf)
            return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

        return jax.tree.map(parts, tree)

    def put_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Copies this process's rows of a batch to its devices.

        The number of devices must divide the batch size.
        """
        if self.batch.is_fully_addressable:
            return jax.device_put(dict(batch), self.batch)
        return {
            key: jax.make_array_from_process_local_data(self.batch, array)
            for key, array in batch.items()
        }
