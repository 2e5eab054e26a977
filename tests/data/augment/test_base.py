"""Augmentations that move or hide pixels, against NumPy and the distributions they claim."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.data.augment.table import AUGMENTATIONS
from tests.data.augment.augmented import MEAN, applied

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 2), ("vertical_flip", 1)])
def test_flips_mirror_those_drawn_below_the_probability_and_undo_themselves(name, axis, images):
    flip = AUGMENTATIONS.create(name, probability=0.25)
    draws = np.linspace(0, 1, 32, endpoint=False, dtype=np.float32)[:, None]
    flipped = applied(flip, images, draws)
    np.testing.assert_array_equal(flipped[:8], np.flip(images[:8], axis))
    np.testing.assert_array_equal(flipped[8:], images[8:])
    np.testing.assert_array_equal(applied(flip, flipped, draws), images)


def test_rotate90_is_numpy_s(images):
    rotate = AUGMENTATIONS.create("rotate90")
    for turns in range(4):
        turned = applied(rotate, images, [[(turns + 0.5) / 4]])
        np.testing.assert_array_equal(turned, np.rot90(images, turns, axes=(1, 2)))


def test_crop_reads_the_window_that_was_drawn(images):
    """Offsets (0, 0), (1, 2) and (4, 4) of padding 2: shifts by −2…2, black where nothing was."""
    draws = np.array([[0, 0], [1.5 / 5, 2.5 / 5], [0.999, 0.999]], np.float32)
    cropped = applied(AUGMENTATIONS.create("pad_and_crop", padding=2), images[:3], draws)
    np.testing.assert_array_equal(cropped[0, 2:, 2:], images[0, :-2, :-2])
    assert not cropped[0, :2].any()
    assert not cropped[0, :, :2].any()
    np.testing.assert_array_equal(cropped[1, 1:], images[1, :-1])
    np.testing.assert_array_equal(cropped[2, :-2, :-2], images[2, 2:, 2:])


def test_every_offset_is_drawn_equally_often(rng):
    marker = np.zeros((1, 9, 9, 1), np.float32)
    marker[0, 4, 4] = 1
    draws = rng.random((20_000, 2), np.float32)
    pad_and_crop = AUGMENTATIONS.create("pad_and_crop", padding=1)
    cropped = applied(pad_and_crop, np.repeat(marker, 20_000, 0), draws)
    counts = cropped.sum(0)[3:6, 3:6, 0]
    assert counts.sum() == 20_000
    # Nine cells of expectation 2,222; the 0.999 quantile of χ² with 8 degrees is 26.1.
    assert ((counts - 20_000 / 9) ** 2 / (20_000 / 9)).sum() < 26.1


# --- hiding ---


@given(draws=st.tuples(*[st.floats(0, 0.999)] * 2), size=st.integers(1, 12))
def test_cutout_hides_a_square_around_a_pixel(draws, size):
    image = np.full((1, 10, 10, 3), 7.0, np.float32)
    new = applied(AUGMENTATIONS.create("cutout", size=size), image, [draws])
    row, column = (int(np.float32(draw) * 10) for draw in draws)
    top, left = row - size // 2, column - size // 2
    expected = image.copy()
    expected[0, max(top, 0) : top + size, max(left, 0) : left + size] = MEAN.round()
    np.testing.assert_array_equal(new, expected)


def test_random_erasing_hides_the_area_that_it_says(rng):
    image = np.zeros((3000, 40, 40, 3), np.float32)
    erase = AUGMENTATIONS.create("random_erasing", probability=1.0)
    hidden = (applied(erase, image, rng.random((3000, 4), np.float32)) > 0)[..., 0].mean(
        axis=(1, 2)
    )
    assert 0.01 < hidden.min() < 0.03
    assert 0.36 < hidden.max() < 0.43
    assert hidden.mean() == pytest.approx(0.21, abs=0.01)
