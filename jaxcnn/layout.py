"""One mesh over all devices: the state on each of them, the batch in equal parts."""

from collections.abc import Mapping

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh() -> Mesh:
    """All devices in one axis, 'data'. The axis is Auto: under Explicit, Linen's Dropout fails."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on each device."""
    return NamedSharding(mesh, PartitionSpec())


def split_by_example(mesh: Mesh) -> NamedSharding:
    """The leading axis in equal parts, one per device."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(batch: Mapping, mesh: Mesh) -> Mapping:
    """Copies this host's part of a batch to its devices; the batch size divides by the devices."""
    if jax.process_count() == 1:
        return jax.device_put(dict(batch), split_by_example(mesh))
    return {
        key: jax.make_array_from_process_local_data(split_by_example(mesh), array)
        for key, array in batch.items()
    }
