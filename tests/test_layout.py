"""Which rows of a batch are a process's, and where the parts of a state and of a batch are."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from jaxcnn.layout import Layout, abstract
from tests.conftest import ROOT


def test_one_process_has_all_rows_and_the_values_arrive():
    layout = Layout.over_all_devices()
    assert layout.rows(6).tolist() == [0, 1, 2, 3, 4, 5]
    batch = layout.put_batch({"image": np.arange(6.0)})
    assert batch["image"].sharding == layout.batch
    assert batch["image"].tolist() == [0, 1, 2, 3, 4, 5]


def test_shapes_without_values():
    """A number stays weakly typed: it takes the dtype of what it meets, as its array would."""
    layout = Layout.over(jax.devices())
    assert layout.platform == jax.default_backend()
    assert layout.mesh == Layout.over_all_devices().mesh
    tree = {"rate": 0.1, "labels": np.zeros((2, 3), np.int32), "none": None}
    shapes = abstract(tree, layout.replicated)
    arrays = jax.device_put(tree, layout.replicated)
    assert jax.tree.structure(shapes) == jax.tree.structure(arrays)
    for shape, array in zip(jax.tree.leaves(shapes), jax.tree.leaves(arrays), strict=True):
        assert (shape.shape, shape.dtype, shape.sharding) == (
            array.shape,
            array.dtype,
            array.sharding,
        )
        assert shape.weak_type == array.aval.weak_type
    assert jax.tree.map(lambda leaf: leaf, abstract(shapes, layout.replicated)) == shapes


class Sharding:
    """What a sharding says to the first of two processes: the rows of each of its own devices."""

    def __init__(self, *parts):
        self.parts = {f"device {i}": (part,) for i, part in enumerate(parts)}

    def addressable_devices_indices_map(self, shape):
        assert shape == (8,)
        return self.parts


@pytest.mark.parametrize(
    ("parts", "rows"),
    [
        ([slice(0, 4)], [0, 1, 2, 3]),
        ([slice(4, 8)], [4, 5, 6, 7]),
        ([slice(6, 8), slice(2, 4)], [2, 3, 6, 7]),  # a mesh that alternates between processes
        ([slice(None), slice(None)], [0, 1, 2, 3, 4, 5, 6, 7]),  # two copies of the same rows
    ],
)
def test_rows_are_read_from_the_sharding(monkeypatch, parts, rows):
    monkeypatch.setattr(Layout, "batch", Sharding(*parts))
    assert Layout.on(jax.devices()[0]).rows(8).tolist() == rows


PERMUTED = """
import jax, numpy as np
from jax.sharding import AxisType, Mesh
from jaxcnn.layout import Layout

devices = np.array(jax.devices())[[2, 0, 3, 1]]
layout = Layout(Mesh(devices, ("data",), axis_types=(AxisType.Auto,)))
batch = layout.put_batch({"image": np.arange(8)})["image"]
print(batch.tolist(), [s.device.id for s in sorted(batch.addressable_shards, key=lambda s: s.index)])
state = layout.replicate({"kernel": np.ones((3, 2))})
print(len(state["kernel"].addressable_shards), state["kernel"].is_fully_replicated, layout.replicas)
print([layout.on(device).mesh.devices.item().id for device in devices])
"""


def test_a_mesh_may_order_its_devices_in_any_way():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "PYTHONPATH": str(ROOT)}
    code = f"import os; os.environ.update({flags})\n{PERMUTED}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines() == [
        "[0, 1, 2, 3, 4, 5, 6, 7] [2, 0, 3, 1]", "4 True 4", "[2, 0, 3, 1]",
    ], done.stderr  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "dtype", "split"),
    [
        ((3, 3, 64, 128), "float32", PartitionSpec(None, None, None, "data")),
        ((3, 3, 128, 64), "float32", PartitionSpec(None, None, "data")),
        ((1, 1, 256, 256), "float32", PartitionSpec(None, None, "data")),  # the first of equals
        ((160, 1001), "float32", PartitionSpec("data")),  # 8 does not divide the largest
        ((129, 1001), "float32", PartitionSpec()),
        ((128, 128), "float32", PartitionSpec()),  # exactly 64 KiB
        ((128, 128), "float64", PartitionSpec("data")),
        ((), "int32", PartitionSpec()),
    ],
)
def test_large_arrays_of_a_sharded_state_are_split(shape, dtype, split):
    mesh, leaf = AbstractMesh((8,), ("data",)), jax.ShapeDtypeStruct(shape, np.dtype(dtype))
    assert Layout(mesh, "fsdp").of_state({"leaf": leaf})["leaf"].spec == split
    assert Layout(mesh).of_state({"leaf": leaf})["leaf"].spec == PartitionSpec()
