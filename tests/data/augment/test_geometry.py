"""Affine maps and crops that are scaled back: where they put things, PIL's warp, the boxes drawn."""

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.augment.arrays import numpy_arrays
from jaxcnn.data.augment.base import Pixels
from jaxcnn.data.augment.geometry import Affine, RandomResizedCrop, ScaleJitterCrop, warped
from tests.data.augment.augmented import MEAN, applied, smooth

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("settings", "draw", "expected"),
    [
        # A marker 6 pixels right of the centre of 33×33; a quarter turn anticlockwise puts it 6 above.
        ({"degrees": 90.0}, {0: 1.0}, (10, 16)),
        ({"degrees": 90.0}, {0: 0.0}, (22, 16)),
        ({"scale": (2.0, 2.0)}, {}, (16, 28)),
        ({"translate": 4 / 33}, {2: 1.0}, (20, 22)),
        ({"translate": 4 / 33}, {3: 0.0}, (16, 18)),
        # tan 45° = 1: a point 4 lower moves 4 along the row.
        ({"shear": 45.0, "translate": 4 / 33}, {2: 1.0, 4: 1.0}, (20, 22)),
    ],
)
def test_an_affine_map_puts_a_marker_where_it_must(settings, draw, expected):
    image = np.zeros((1, 33, 33, 1), np.float32)
    image[0, 15:18, 21:24] = 100
    image[0, 16, 22] = 255
    draws = np.full((1, 5), 0.5, np.float32)
    for column, value in draw.items():
        draws[0, column] = value
    moved = applied(Affine(**settings), image, draws)
    assert np.unravel_index(moved[0, ..., 0].argmax(), (33, 33)) == expected


def test_the_identity_is_the_identity(images):
    np.testing.assert_array_equal(applied(Affine(), images, np.full((32, 5), 0.3)), images)
    whole = RandomResizedCrop(area=(1.0, 1.0), aspect=(1.0, 1.0))
    np.testing.assert_array_equal(applied(whole, images, np.full((32, 22), 0.7)), images)


def test_a_warp_is_pil_s(rng):
    """Inside of the image: at its rim PIL's bilinear filter has other neighbours."""
    image = smooth(rng, (1, 24, 24, 1))
    a, b, c, d, e, f = 0.9, -0.3, 1.7, 0.25, 1.1, -2.2
    ours = warped(numpy_arrays, image, tuple(np.full(1, v, np.float32) for v in (a, b, c, d, e, f)))
    # PIL's matrix is of pixel corners: x' + ½ = a(x + ½) + …; ours is about the centre.
    centre = 12.0
    corner = (
        a,
        b,
        centre - a * centre - b * centre + c,
        d,
        e,
        centre - d * centre - e * centre + f,
    )
    theirs = Image.fromarray(image[0, ..., 0].astype(np.uint8)).transform(
        (24, 24), Image.Transform.AFFINE, corner, Image.Resampling.BILINEAR
    )
    inside = ours[0, 8:16, 8:16, 0]
    np.testing.assert_allclose(inside, np.asarray(theirs, float)[8:16, 8:16], atol=1.0)


# --- crops ---


def boxes(augmentation, draws, size=(60, 40)):
    """(top, left, rows, columns) of each crop, read off ramps that were cropped."""
    height, width = size
    ramps = np.zeros((1, height, width, 2), np.float32)
    ramps[..., 0], ramps[..., 1] = np.arange(height)[:, None], np.arange(width)[None]
    images = np.repeat(ramps, len(draws), 0)
    new = applied(augmentation, images, draws, Pixels(False, MEAN[:2]))
    middle = new[:, height // 2 - 1 : height // 2 + 1, width // 2 - 1 : width // 2 + 1]
    step = np.stack(
        [middle[:, 1, 0, 0] - middle[:, 0, 0, 0], middle[:, 0, 1, 1] - middle[:, 0, 0, 1]], 1
    )
    lengths = step * np.array(size)
    centre = middle.mean(axis=(1, 2))
    return np.concatenate([centre + 0.5 - lengths / 2, lengths], 1)


def test_inception_s_crop_is_inside_and_distributed_as_it_says(rng):
    augmentation = RandomResizedCrop()
    found = boxes(augmentation, rng.random((4000, augmentation.draws), np.float32))
    top, left, rows, columns = found.T
    assert top.min() > -0.01
    assert left.min() > -0.01
    assert (top + rows).max() < 60.01
    assert (left + columns).max() < 40.01
    area = rows * columns / 2400
    assert 0.07 < area.min() < 0.12
    assert area.max() > 0.7
    aspect = columns / rows
    assert 0.6 < aspect.min() < 0.8  # sides are whole numbers
    assert 1.25 < aspect.max() < 1.6
    # Small boxes always fit: among them the area is uniform, and the aspect's logarithm too.
    small = area[area < 0.4]
    assert np.mean(small < 0.24) == pytest.approx(0.5, abs=0.05)
    assert np.mean(aspect[area < 0.4] < 1) == pytest.approx(0.5, abs=0.05)


def test_a_crop_that_never_fits_is_the_largest_in_the_middle(rng):
    augmentation = RandomResizedCrop(area=(1.0, 1.0), aspect=(1.0, 1.0))
    found = boxes(augmentation, rng.random((10, augmentation.draws), np.float32))
    np.testing.assert_allclose(found, np.tile([10, 0, 40, 40], (10, 1)), atol=0.01)


def test_scale_jitter_takes_what_224_of_a_longer_side_would(rng):
    augmentation = ScaleJitterCrop()
    found = boxes(augmentation, rng.random((3000, 3), np.float32), size=(48, 48))
    side = found[:, 2]
    np.testing.assert_allclose(found[:, 3], side, rtol=1e-3)
    short_side = 224 * 48 / side
    assert short_side.min() == pytest.approx(256, abs=1)
    assert short_side.max() == pytest.approx(480, abs=2)
    assert short_side.mean() == pytest.approx(368, abs=4)
