"""Array placement: one mesh of all devices; batches are split evenly, the state is copied or split."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.mesh_utils import create_hybrid_device_mesh
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

_SMALL = 64 * 1024  # bytes; a smaller array is not worth the message that gathers it


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
    """The device mesh of a run, with a single axis 'data', and its shardings.

    Attributes:
      sharding: of the state: 'replicated', a copy on every device; or 'fsdp', each device keeps a part
        of every large array (Rajbhandari et al. 2020, ZeRO stage 3; Zhao et al. 2023, PyTorch FSDP).
    """

    mesh: Mesh
    sharding: str = "replicated"

    @classmethod
    def over_all_devices(cls, sharding: str = "replicated") -> "Layout":
        """All devices of this machine."""
        return cls.over(jax.devices(), sharding)

    @classmethod
    def over(cls, devices: Sequence[jax.Device], sharding: str = "replicated") -> "Layout":
        """Devices along one axis of type Auto: Linen's Dropout fails under Explicit axes."""
        axis, count = {"axis_types": (AxisType.Auto,)}, len(devices)
        slices = len({getattr(device, "slice_index", 0) for device in devices})
        if slices > 1:  # of TPUs, which `make_mesh` takes for one
            ordered = create_hybrid_device_mesh((count // slices,), (slices,), devices)
            return cls(Mesh(ordered, ("data",), **axis), sharding)
        return cls(jax.make_mesh((count,), ("data",), devices=devices, **axis), sharding)

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
        """Returns the sharding of each leaf of a train state, or of its shapes.

        With 'fsdp', a leaf of more than 64 KiB is split along the largest dimension that the number of
        devices divides, the first of equals. All other leaves are replicated.
        """
        return jax.tree.map(self._of_leaf, state)

    def _of_leaf(self, leaf: Any) -> NamedSharding:
        size = math.prod(leaf.shape) * leaf.dtype.itemsize
        if self.sharding == "replicated" or size <= _SMALL:
            return self.replicated
        axes = [axis for axis, length in enumerate(leaf.shape) if length % self.replicas == 0]
        if not axes:
            return self.replicated
        axis = max(axes, key=leaf.shape.__getitem__)
        return NamedSharding(self.mesh, PartitionSpec(*(None,) * axis, "data"))

    def gathered(self, params: Any) -> Any:
        """Returns parameters as a network needs them, whole on every device; traceable.

        The gradient goes the other way: each device gets the sum of its own part.
        """
        if self.sharding == "replicated":
            return params
        constrained = lax.with_sharding_constraint
        return constrained(constrained(params, self.of_state(params)), self.replicated)

    def on_each_device(self, function: Callable) -> Callable:
        """Returns (batch, shared) → function(batch, shared), which each device computes for its rows.

        The number of devices must divide the batch size. The function must treat each row by itself.
        """
        split, whole = self.batch.spec, PartitionSpec()
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=(split, whole), out_specs=split, check_vma=False
        )

    def split_rows(self, array: np.ndarray) -> jax.Array:
        """Copies to each device its share of an array's rows; zeros fill the last shares up."""
        length = len(array) + -len(array) % self.replicas

        def share(index: tuple[slice, ...]) -> np.ndarray:
            start, stop, _ = index[0].indices(length)
            rows = array[start:stop]
            return np.pad(rows, [(0, stop - start - len(rows))] + [(0, 0)] * (array.ndim - 1))

        return jax.make_array_from_callback((length, *array.shape[1:]), self.batch, share)

    def take(self, array: jax.Array, index: jax.Array) -> jax.Array:
        """Returns rows of an array from `split_rows`, split over the devices like the index; traceable.

        Every device looks up what it has of all the rows, and the devices add up what they found.

        Args:
          index: (rows,), int32, whose number the number of devices divides.
        """
        return jax.shard_map(
            partial(_found_together, axis=self.mesh.axis_names[0]),
            mesh=self.mesh,
            in_specs=self.batch.spec,
            out_specs=self.batch.spec,
        )(array, index)

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


def _found_together(part: jax.Array, index: jax.Array, axis: str) -> jax.Array:
    """On a device, with its part of the rows: its share of the rows that all devices look for."""
    place = lax.all_gather(index, axis, tiled=True) - lax.axis_index(axis) * len(part)
    here = (place >= 0) & (place < len(part))
    found = part[jnp.where(here, place, 0)]
    # Whole numbers add up to the same bits, also those of a float's -0 or NaN.
    bits = lax.bitcast_convert_type(found, f"uint{8 * part.dtype.itemsize}")
    bits = jnp.where(jnp.expand_dims(here, range(1, bits.ndim)), bits, 0)
    return lax.bitcast_convert_type(lax.psum_scatter(bits, axis, tiled=True), part.dtype)
