"""RandAugment and TrivialAugment: torchvision's strengths, PIL's operations, each as often as another."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxcnn.data.augment.arrays import numpy_arrays
from jaxcnn.data.augment.policies import (
    OPERATIONS,
    RandAugment,
    TrivialAugment,
    _operated,
    strengths,
)
from tests.data.augment.augmented import PIXELS, applied, smooth

pytestmark = pytest.mark.fast


def operated(name, images, strength, sign=0.9):
    count = len(images)
    operation = np.full(count, OPERATIONS.index(name), np.int32)
    strength = np.full(count, strength, np.float32)
    return _operated(numpy_arrays, images, operation, strength, np.full(count, sign), PIXELS)


@pytest.mark.parametrize("wide", [False, True])
def test_strengths_are_torchvision_s(wide):
    table = dict(zip(OPERATIONS, strengths(wide, 31, 331, 331), strict=True))
    assert table["shear_x"][-1] == pytest.approx(0.99 if wide else 0.3)
    assert table["translate_y"][-1] == pytest.approx(32 if wide else 150)
    assert table["rotate"][-1] == pytest.approx(135 if wide else 30)
    assert table["sharpness"][-1] == pytest.approx(0.99 if wide else 0.9)
    assert (table["posterize"][0], table["posterize"][-1]) == (8, 2 if wide else 4)
    assert (table["solarize"][0], table["solarize"][-1]) == (255, 0)
    assert (strengths(wide, 31, 8, 8)[:, 0] == [0] * 10 + [8, 255, 0, 0]).all()


@pytest.mark.parametrize(
    ("name", "strength", "pil"),
    [
        ("posterize", 3, lambda image: ImageOps.posterize(image, 3)),
        ("posterize", 8, lambda image: image),
        ("solarize", 100, lambda image: ImageOps.solarize(image, 100)),
        ("autocontrast", 0, ImageOps.autocontrast),
        ("equalize", 0, ImageOps.equalize),
        ("brightness", 0.6, lambda image: ImageEnhance.Brightness(image).enhance(1.6)),
        ("contrast", 0.6, lambda image: ImageEnhance.Contrast(image).enhance(1.6)),
        ("saturation", 0.6, lambda image: ImageEnhance.Color(image).enhance(1.6)),
        ("sharpness", 0.6, lambda image: ImageEnhance.Sharpness(image).enhance(1.6)),
        ("identity", 0, lambda image: image),
    ],
)
def test_operations_are_pil_s(name, strength, pil, rng):
    images = smooth(rng, (8, 16, 16, 3)) * 0.7 + 20
    images = images.round().astype(np.float32)
    for image, mine in zip(images, operated(name, images, strength), strict=True):
        theirs = np.asarray(pil(Image.fromarray(image.astype(np.uint8))), float)
        assert np.abs(theirs - mine).max() <= (
            name not in ("posterize", "solarize", "equalize", "identity")
        )


def test_a_constant_image_stays_as_it_is_under_stretching_and_equalising():
    flat = np.full((1, 4, 4, 3), 77.0, np.float32)
    for name in ("autocontrast", "equalize"):
        np.testing.assert_array_equal(operated(name, flat, 0), flat)


def test_signs_turn_to_either_side(images):
    one, other = (operated("translate_x", images, 2.0, sign) for sign in (0.2, 0.8))
    np.testing.assert_array_equal(one[:, :, 2:], images[:, :, :-2])
    np.testing.assert_array_equal(other[:, :, :-2], images[:, :, 2:])


def test_policies_draw_each_operation_equally_often(images, rng):
    """A draw in the n-th fourteenth is the n-th operation: of one kind each, seen by its effect."""
    strongest = RandAugment(operations=1, magnitude=30)
    for number, name in enumerate(OPERATIONS):
        draws = [[(number + 0.5) / 14, 0.9]]
        strength = strengths(False, 31, 9, 9)[number, 30]
        np.testing.assert_array_equal(
            applied(strongest, images, draws), operated(name, images, strength)
        )
    trivial = TrivialAugment()
    for number, bin_ in itertools.product(range(14), (0, 17, 30)):
        draws = [[(number + 0.5) / 14, (bin_ + 0.5) / 31, 0.1]]
        expected = operated(
            OPERATIONS[number], images, strengths(True, 31, 9, 9)[number, bin_], 0.1
        )
        np.testing.assert_array_equal(applied(trivial, images, draws), expected)
