"""Each augmentation in three libraries, against closed forms, PIL, and the distributions it claims."""

import itertools

import jax
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from jaxcnn.data.arrays import jax_arrays, numpy_arrays, tensorflow_arrays
from jaxcnn.data.augment import AUGMENTATIONS, check_augmentations, create_augmentations
from jaxcnn.data.augmentation import Pixels
from jaxcnn.data.geometry import Affine, RandomResizedCrop, ScaleJitterCrop, warped
from jaxcnn.data.photometry import EIGENVALUES, EIGENVECTORS, blurred
from jaxcnn.data.policies import OPERATIONS, RandAugment, TrivialAugment, _operated, strengths
from jaxcnn.errors import UserError

MEAN = np.float32([100.4, 110.0, 120.0])
PIXELS = Pixels(True, MEAN)


@pytest.fixture
def images(rng):
    return smooth(rng, (32, 9, 9, 3))


def smooth(rng, shape):
    """Whole numbers in 0 … 255 that fill the range, darker to one side."""
    slope = np.linspace(0.2, 1, shape[2])[None, None, :, None]
    return (rng.integers(0, 256, shape) * slope).round().astype(np.float32)


def applied(augmentation, images, draws, pixels=PIXELS):
    draws = np.broadcast_to(np.float32(draws), (len(images), augmentation.draws))
    return np.asarray(augmentation(numpy_arrays, images, draws, pixels))


# --- all of them ---

# Of CATALOG.md, "Data": an entry for each row; mixing is not among them.
NAMED = {
    "pad_and_crop", "random_resized_crop", "scale_jitter_crop", "horizontal_flip", "vertical_flip", "rotate90",
    "rotation", "scaling", "translation", "similarity", "affine", "brightness", "contrast", "saturation", "hue",
    "sharpness", "color_factor", "pca_lighting", "cutout", "random_erasing", "rand_augment", "trivial_augment",
}  # fmt: skip


def test_all_are_there():
    assert set(AUGMENTATIONS.names()) == NAMED


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
def test_an_example_s_image_hangs_on_its_own_draws_alone(name, images, rng):
    augmentation = AUGMENTATIONS.create(name)
    draws = rng.random((32, augmentation.draws), np.float32)
    together = applied(augmentation, images, draws)
    for i in (0, 7, 31):
        alone = applied(augmentation, images[i : i + 1], draws[i : i + 1])
        np.testing.assert_array_equal(alone[0], together[i])


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


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "horizontal_flip", "probability": 1.5}, "HorizontalFlip: probability=1.5 must be in [0, 1]"),
        ({"name": "pad_and_crop", "padding": 0}, "PadAndCrop: padding=0 must be at least 1"),
        ({"name": "cutout", "size": 0}, "Cutout: size=0 must be at least 1"),
        ({"name": "random_erasing", "area": (0.5, 0.2)}, "RandomErasing: area=(0.5, 0.2) must be two numbers"),
        ({"name": "random_resized_crop", "area": (0.1, 1.5)}, "more than 0 and at most 1"),
        ({"name": "rotation", "degrees": 200.0}, "Affine: degrees=200.0 must be at least 0 and at most 180"),
        ({"name": "scale_jitter_crop", "size": 300}, "at least 1 and at most short_side's 256"),
        ({"name": "hue", "shift": 0.7}, "Hue: shift=0.7 must be at least 0 and at most 0.5"),
        ({"name": "brightness", "strength": -1.0}, "Brightness: strength=-1.0 must be at least 0"),
        ({"name": "rand_augment", "magnitude": 31}, "magnitude=31 must be at least 0 and less than bins=31"),
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
    ],
)
def test_images_that_one_is_not_for(name, shape, pixels, message):
    with pytest.raises(UserError, match=message):
        check_augmentations([AUGMENTATIONS.create(name)], shape, pixels)


# --- moving pixels ---


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


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_the_least_and_the_largest_draws_stay_inside(name, images):
    augmentation = AUGMENTATIONS.create(name)
    for draw in (np.float32(0), np.nextafter(np.float32(1), np.float32(0))):
        new = applied(augmentation, images[:2], np.full((2, augmentation.draws), draw))
        assert np.isfinite(new).all()


# --- resampling ---


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


# --- brightness and colour: PIL's definitions ---


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


# --- policies ---


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


def operated(name, images, strength, sign=0.9):
    count = len(images)
    operation = np.full(count, OPERATIONS.index(name), np.int32)
    strength = np.full(count, strength, np.float32)
    return _operated(numpy_arrays, images, operation, strength, np.full(count, sign), PIXELS)


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
