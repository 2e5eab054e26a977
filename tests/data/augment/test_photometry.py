"""Brightness and colour, against PIL's definitions and closed forms."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from jaxcnn.data.augment.arrays import numpy_arrays
from jaxcnn.data.augment.photometry import EIGENVALUES, EIGENVECTORS, blurred
from jaxcnn.data.augment.table import AUGMENTATIONS
from tests.data.augment.augmented import applied

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_enhancements_are_pil_s(name, enhancer, factor, images):
    """To one in 255: PIL cuts fractions off, torchvision and we round."""
    augmentation = AUGMENTATIONS.create(name, strength=1.0)
    ours = applied(augmentation, images, [[factor / 2]])
    for image, mine in zip(images, ours, strict=True):
        theirs = enhancer(Image.fromarray(image.astype(np.uint8))).enhance(factor)
        assert np.abs(np.asarray(theirs, float) - mine).max() <= 1


def test_blur_is_pil_s_smooth(images):
    ours = blurred(numpy_arrays, images)
    for image, mine in zip(images, ours, strict=True):
        theirs = Image.fromarray(image.astype(np.uint8)).filter(ImageFilter.SMOOTH)
        assert np.abs(np.asarray(theirs, float) - mine).max() <= 1


def test_a_hue_of_a_third_exchanges_the_channels(images):
    """A third of the circle: what was red becomes green; and back."""
    hue = AUGMENTATIONS.create("hue", shift=0.5)
    turned = applied(hue, images, [[0.5 + 1 / 3]])
    np.testing.assert_allclose(turned, images[..., [2, 0, 1]], atol=1)
    back = applied(hue, turned, [[0.5 - 1 / 3]])
    np.testing.assert_allclose(back, images, atol=2)
    np.testing.assert_allclose(applied(hue, images, [[0.5]]), images, atol=0)


def test_color_factors_are_of_each_channel():
    image = np.full((1, 2, 2, 3), 100.0, np.float32)
    new = applied(AUGMENTATIONS.create("color_factor"), image, [[0.0, 0.5, 0.9999]])
    np.testing.assert_array_equal(new[0, 0, 0], [80, 100, 120])


def test_pca_lighting_has_the_covariance_of_the_paper_s_components(rng):
    """Shifts of one image's pixels: Σ λᵢ²pᵢpᵢᵀ·strength², in units of 1/255."""
    images = np.full((50_000, 1, 1, 3), 127.0, np.float32)
    lighting = AUGMENTATIONS.create("pca_lighting", strength=0.1)
    draws = rng.random((50_000, 6), np.float32)
    shifts = (applied(lighting, images, draws)[:, 0, 0] - 127) / 255
    expected = 0.01 * EIGENVECTORS @ np.diag(EIGENVALUES**2) @ EIGENVECTORS.T
    np.testing.assert_allclose(np.cov(shifts.T), expected, rtol=0.05, atol=2e-6)
    np.testing.assert_allclose(shifts.mean(axis=0), 0, atol=3e-4)
