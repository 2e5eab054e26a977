import numpy as np
import pytest
import tensorflow as tf

from jaxcnn.data.augment import AUGMENTATIONS, HorizontalFlip, PadAndCrop, create_augmentations
from jaxcnn.errors import UserError


@pytest.fixture
def images(rng):
    return rng.integers(1, 256, (64, 9, 7, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_tensorflow_and_numpy_give_the_same_bits(name, dtype, images, rng):
    augmentation = AUGMENTATIONS.create(name)
    draws = rng.random((64, augmentation.draws), np.float32)
    images = images.astype(dtype)
    ours = augmentation.numpy(images, draws)
    theirs = augmentation.tensorflow(tf.constant(images), tf.constant(draws)).numpy()
    assert ours.dtype == theirs.dtype == dtype
    np.testing.assert_array_equal(ours, theirs)
    assert (ours != images).any()


def test_flip_mirrors_those_drawn_below_the_probability(images):
    draws = np.linspace(0, 1, 64, endpoint=False, dtype=np.float32)[:, None]
    flipped = HorizontalFlip(probability=0.25).numpy(images, draws)
    np.testing.assert_array_equal(flipped[:16], images[:16, :, ::-1])
    np.testing.assert_array_equal(flipped[16:], images[16:])
    again = HorizontalFlip(probability=0.25).numpy(flipped, draws)
    np.testing.assert_array_equal(again, images)


def test_crop_reads_the_window_that_was_drawn(images):
    """Offsets (0, 0), (1, 2) and (4, 4) of padding 2: shifts by −2…2, black where nothing was."""
    draws = np.array([[0, 0], [1 / 5, 2 / 5], [0.999, 0.999]], np.float32)
    cropped = PadAndCrop(padding=2).numpy(images[:3], draws)
    np.testing.assert_array_equal(cropped[0, 2:, 2:], images[0, :-2, :-2])
    assert not cropped[0, :2].any()
    assert not cropped[0, :, :2].any()
    np.testing.assert_array_equal(cropped[1, 1:], images[1, :-1])
    np.testing.assert_array_equal(cropped[2, :-2, :-2], images[2, 2:, 2:])


def test_every_offset_is_drawn_equally_often(rng):
    marker = np.zeros((1, 9, 9, 1), np.uint8)
    marker[0, 4, 4] = 1
    draws = rng.random((20_000, 2), np.float32)
    cropped = PadAndCrop(padding=1).numpy(np.repeat(marker, 20_000, 0), draws)
    counts = cropped.sum(0)[3:6, 3:6, 0]
    assert counts.sum() == 20_000
    # Nine cells of expectation 2,222; the 0.999 quantile of χ² with 8 degrees is 26.1.
    assert ((counts - 20_000 / 9) ** 2 / (20_000 / 9)).sum() < 26.1


@pytest.mark.parametrize("padding", [1, 2, 4, 8, 31])
def test_the_largest_draw_stays_inside(padding):
    images = np.ones((1, 3, 3, 1), np.uint8)
    draws = np.full((1, 2), np.nextafter(np.float32(1), np.float32(0)))
    PadAndCrop(padding).numpy(images, draws)  # would raise IndexError


def test_impossible_settings():
    with pytest.raises(UserError, match=r"horizontal_flip: probability=1.5 is not in \[0, 1\]"):
        create_augmentations([{"name": "horizontal_flip", "probability": 1.5}])
