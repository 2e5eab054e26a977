import json

import numpy as np
import pytest

from jaxcnn.data.spec import DataSpec, TargetScale

pytestmark = pytest.mark.fast


def spec(rng, class_names=("cat", "dog"), targets=None):
    mean, std = rng.random((2, 3)).astype(np.float32)
    sizes = {"train": 7, "test": 3}
    return DataSpec((4, 5, 3), class_names, mean, std, "uint8", targets, sizes)


@pytest.mark.parametrize("shape", [None, (), (1,), (2, 3)])
def test_a_spec_comes_back_from_json_to_the_bit(rng, shape):
    targets = None
    if shape is not None:
        targets = TargetScale(*rng.normal(size=(2, *shape)).astype(np.float32))
    stored = spec(rng, () if targets else ("cat", "dog"), targets)
    read = DataSpec.from_json(json.loads(json.dumps(stored.to_json())))
    for name in ("image_shape", "class_names", "pixel_dtype", "sizes", "outputs"):
        assert getattr(read, name) == getattr(stored, name)
    pairs = [(read.mean, stored.mean), (read.std, stored.std)]
    if targets:
        pairs += [(read.targets.mean, targets.mean), (read.targets.std, targets.std)]
    for a, b in pairs:
        assert (a.dtype, a.shape) == (np.float32, b.shape)
        np.testing.assert_array_equal(a, b)
    assert (read.targets is None) == (targets is None)


def test_outputs_are_classes_or_the_numbers_of_a_target(rng):
    assert spec(rng).outputs == 2
    scale = np.ones((2, 3), np.float32)
    assert spec(rng, (), TargetScale(scale, scale)).outputs == 6
    assert spec(rng, (), TargetScale(np.float32(0), np.float32(1))).outputs == 1
