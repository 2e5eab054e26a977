"""Slices of TPUs by name. tests/tpu compiles for them."""

import importlib.util

import pytest

from jaxcnn.diagnose.tpus import CHIPS, Topology
from jaxcnn.errors import UserError

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("name", "kind", "shape", "slices"),
    [
        ("v5e:2x4", "v5e", (2, 4), 1),
        ("v6e:1x1", "v6e", (1, 1), 1),
        ("v4:2x2x1", "v4", (2, 2, 1), 1),
        ("v5p:4x4x8", "v5p", (4, 4, 8), 1),
        ("2*v5e:2x4", "v5e", (2, 4), 2),
    ],
)
def test_a_slice_by_name(name, kind, shape, slices):
    topology = Topology.of(name)
    assert (topology.kind, topology.shape, topology.slices) == (kind, shape, slices)
    assert topology.chip is CHIPS[kind]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5e", "topology='v5e' is not KIND:SHAPE or SLICES*KIND:SHAPE; valid: v4:2x2x1, "),
        ("0*v5e:2x2", "topology='0*v5e:2x2' is not KIND:SHAPE"),
        ("v9:2x2", "topology='v9:2x2': there is no 'v9'; valid: v4:2x2x1, v5e:2x4, "),
        ("v5e:3x3", "topology='v5e:3x3' does not exist; valid: 1x1, 2x2, 2x4, "),
        ("v5e:2x4x2", "topology='v5e:2x4x2' does not exist; valid: 1x1, "),
        ("v4:2x2", "topology='v4:2x2' does not exist; valid: 2x2x1, "),
        ("v4:8x4x4", "topology='v4:8x4x4' does not exist; valid: 2x2x1, "),
        ("v4:16x16x20", "topology='v4:16x16x20' does not exist; valid: 2x2x1, "),
    ],
)
def test_what_is_no_slice_is_refused(name, message):
    with pytest.raises(UserError) as error:
        Topology.of(name)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_without_the_compiler(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        Topology.of("v5e:2x4").devices()
    assert str(error.value) == (
        "topology='v5e:2x4' needs the compiler for TPUs: pip install 'jaxcnn[tpu]'"
    )
