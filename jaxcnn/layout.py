"""Where arrays are: one mesh over all devices, the state on each of them, a batch in equal parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


@dataclass(frozen=True)
class Layout:
    """The mesh of a run, and what of it lies where. Its one axis is 'data'."""

    mesh: Mesh

    @classmethod
    def over_all_devices(cls) -> "Layout":
        """All devices in one axis, which is Auto: under Explicit axes Linen's Dropout fails."""
        axis = {"axis_types": (AxisType.Auto,)}
        return cls(jax.make_mesh((jax.device_count(),), ("data",), **axis))

    @property
    def replicas(self) -> int:
        """How many devices share a batch."""
        return self.mesh.size

    @property
    def replicated(self) -> NamedSharding:
        """The whole array on each device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch(self) -> NamedSharding:
        """The leading axis in equal parts, one for each device."""
        return NamedSharding(self.mesh, PartitionSpec("data"))

    @property
    def batches(self) -> NamedSharding:
        """Of arrays (steps, batch, …): the second axis as `batch` divides the first."""
        return NamedSharding(self.mesh, PartitionSpec(None, "data"))

    def of_state(self, state: Any) -> Any:
        """A sharding for each leaf of a train state, or of its shapes."""
        return jax.tree.map(lambda _: self.replicated, state)

    def rows(self, batch_size: int) -> np.ndarray:
        """Which rows of a global batch lie on this process's devices, and so are its to make.

        Read off the sharding: a mesh may order devices as it likes.
        """
        parts = self.batch.addressable_devices_indices_map((batch_size,)).values()
        numbers = np.arange(batch_size)
        return np.unique(np.concatenate([numbers[rows] for (rows,) in parts]))

    def replicate(self, tree: Any) -> Any:
        """Copies arrays and numbers to each device."""
        return jax.device_put(tree, self.replicated)

    def put_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Copies this process's rows of a batch, whose size divides by the devices, to its devices."""
        if self.batch.is_fully_addressable:
            return jax.device_put(dict(batch), self.batch)
        return {
            key: jax.make_array_from_process_local_data(self.batch, array)
            for key, array in batch.items()
        }
