"""All augmentations alike: their names and settings, and that three libraries give the same image."""

from dataclasses import dataclass
from typing import Annotated

import jax
import numpy as np
import pytest
import tensorflow as tf

from jaxcnn.data.augment.arrays import jax_arrays, tensorflow_arrays
from jaxcnn.data.augment.base import Augmentation, Pixels
from jaxcnn.data.augment.table import (
    AUGMENTATIONS,
    check_augmentations,
    create_augmentations,
    register_augmentation,
)
from jaxcnn.errors import UserError
from jaxcnn.limits import AT_LEAST_0
from tests.data.augment.augmented import MEAN, PIXELS, applied, smooth

pytestmark = pytest.mark.fast

# Of CATALOG.md, "Data": an entry for each row; mixing is not among them.
NAMED = {
    "pad_and_crop", "random_resized_crop", "scale_jitter_crop", "horizontal_flip", "vertical_flip", "rotate90",
    "rotation", "scaling", "translation", "similarity", "affine", "brightness", "contrast", "saturation", "hue",
    "sharpness", "color_factor", "pca_lighting", "cutout", "random_erasing", "rand_augment", "trivial_augment",
}  # fmt: skip


def test_all_are_there():
    assert set(AUGMENTATIONS.names()) == NAMED


# --- images ---


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_three_libraries_give_the_same_image(name, images, rng):
    """But for halves that rounding errors push to the other side: one in 255, in one pixel of a thousand."""
    augmentation = AUGMENTATIONS.create(name)
    draws = rng.random((32, augmentation.draws), np.float32)
    ours = applied(augmentation, images, draws)
    arrays = tensorflow_arrays()
    in_graph = tf.function(lambda images, draws: augmentation(arrays, images, draws, PIXELS))
    others = {
        "tensorflow": in_graph(tf.constant(images), tf.constant(draws)).numpy(),
        "jax": jax.jit(lambda i, d: augmentation(jax_arrays, i, d, PIXELS))(images, draws),
    }
    assert (ours != images).any()
    assert ours.dtype == np.float32
    assert ours.shape == images.shape
    np.testing.assert_array_equal(ours, ours.round())
    assert (ours.min(), ours.max()) >= (0, 0)
    assert ours.max() <= 255
    for library, theirs in others.items():
        difference = np.abs(np.asarray(theirs) - ours)
        assert theirs.dtype == np.float32, library
        if name in ("rand_augment", "trivial_augment"):  # an equalised table may jump by more
            assert (difference > 0).mean() < 2e-3, library
        else:
            assert difference.max() <= 1, library
            assert (difference > 0).mean() < 2e-3, library


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_an_image_depends_on_the_draws_of_its_example_alone(name, images, rng):
    augmentation = AUGMENTATIONS.create(name)
    draws = rng.random((32, augmentation.draws), np.float32)
    together = applied(augmentation, images, draws)
    for i in (0, 7, 31):
        alone = applied(augmentation, images[i : i + 1], draws[i : i + 1])
        np.testing.assert_array_equal(alone[0], together[i])


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_the_least_and_the_largest_draws_stay_inside(name, images):
    augmentation = AUGMENTATIONS.create(name)
    for draw in (np.float32(0), np.nextafter(np.float32(1), np.float32(0))):
        new = applied(augmentation, images[:2], np.full((2, augmentation.draws), draw))
        assert np.isfinite(new).all()


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_probability(name, images, rng):
    never = AUGMENTATIONS.create(name, probability=0.0)
    np.testing.assert_array_equal(applied(never, images, rng.random((32, never.draws))), images)
    half = AUGMENTATIONS.create(name, probability=0.5)
    draws = rng.random((32, half.draws), np.float32)
    changed = (applied(half, images, draws) != images).any(axis=(1, 2, 3))
    assert not changed[draws[:, -1] >= 0.5].any()


@pytest.mark.parametrize(
    "name", [n for n in AUGMENTATIONS.names() if n not in ("hue", "pca_lighting")]
)
def test_grey_images_and_a_batch_that_is_not_square(name, rng):
    shape = (8, 9, 9, 1) if name == "rotate90" else (8, 9, 7, 1)
    grey = smooth(rng, shape)
    augmentation = AUGMENTATIONS.create(name)
    new = applied(augmentation, grey, rng.random((8, augmentation.draws)), Pixels(True, MEAN[:1]))
    assert new.shape == shape
    if name == "saturation":
        np.testing.assert_array_equal(new, grey)


def test_a_user_s_augmentation(monkeypatch):
    monkeypatch.setattr(AUGMENTATIONS, "_constructors", dict(AUGMENTATIONS._constructors))

    @register_augmentation("darken")
    @dataclass(frozen=True)
    class Darken(Augmentation):
        """Subtracts a constant."""

        by: Annotated[float, AT_LEAST_0] = 10.0

        def change(self, arrays, images, draws, pixels):
            return pixels.finished(arrays, images - self.by)

    (darken,) = create_augmentations([{"name": "darken", "by": 3.0}])
    images = np.full((1, 2, 2, 3), 5, np.float32)
    np.testing.assert_array_equal(applied(darken, images, np.zeros((1, 0))), images - 3)
    with pytest.raises(UserError, match="augmentation 'darken': by=-1 must be at least 0"):
        create_augmentations([{"name": "darken", "by": -1}])


# --- refusals ---


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "horizontal_flip", "probability": 1.5}, "augmentation 'horizontal_flip': probability=1.5 must be at least 0 and at most 1"),
        ({"name": "pad_and_crop", "padding": 0}, "augmentation 'pad_and_crop': padding=0 must be at least 1"),
        ({"name": "cutout", "size": 0}, "augmentation 'cutout': size=0 must be at least 1"),
        ({"name": "random_erasing", "area": (0.5, 0.2)}, "augmentation 'random_erasing': area=(0.5, 0.2) must be two numbers"),
        ({"name": "random_resized_crop", "area": (0.1, 1.5)}, "more than 0 and at most 1"),
        ({"name": "rotation", "degrees": 200.0}, "augmentation 'rotation': degrees=200.0 must be at least 0 and at most 180"),
        ({"name": "scale_jitter_crop", "size": 300}, "ScaleJitterCrop: size=300 must be at most 256, the least short_side"),
        ({"name": "hue", "shift": 0.7}, "augmentation 'hue': shift=0.7 must be at least 0 and at most 0.5"),
        ({"name": "brightness", "strength": -1.0}, "augmentation 'brightness': strength=-1.0 must be at least 0"),
        ({"name": "rand_augment", "magnitude": 31}, "magnitude=31 must be less than bins=31"),
    ],
)  # fmt: skip
def test_impossible_settings(entry, message):
    with pytest.raises(UserError) as error:
        create_augmentations([entry])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "shape", "pixels", "message"),
    [
        ("hue", (8, 8, 1), PIXELS, "augmentation 'hue' is for images of 3 channels; these have 1"),
        ("rotate90", (8, 6, 3), PIXELS, "rotate90 is for square images"),
        ("contrast", (8, 8, 3), Pixels(False, MEAN), "Contrast is for pixels in 0 … 255"),
        ("contrast", (8, 8, 4), PIXELS, "is for images of 1 or 3 channels; these have 4"),
        ("saturation", (8, 8, 2), PIXELS, "is for images of 1 or 3 channels; these have 2"),
        ("rand_augment", (8, 8, 2), PIXELS, "is for images of 1 or 3 channels; these have 2"),
        ("color_factor", (8, 8, 5), PIXELS, "augmentation 'color_factor' is for images of 1 or 3"),
    ],
)
def test_images_that_one_is_not_for(name, shape, pixels, message):
    with pytest.raises(UserError, match=message):
        check_augmentations([AUGMENTATIONS.create(name)], shape, pixels)
