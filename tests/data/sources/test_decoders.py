"""Every kind of image file, decoded as Pillow decodes it, whichever library does it here."""

import contextlib
import functools
import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from jaxcnn.data.sources.decoding import Decoder
from jaxcnn.data.sources.headers import Unsuitable, read_header
from jaxcnn.tensorflow import tensorflow
from tests.data.sources.picture_files import COLOUR_CHUNKS, chunk, encoded, png
from tests.data.sources.picture_groups import GROUPS, jpegs, tiff

pytestmark = pytest.mark.fast

# Of a JPEG, TensorFlow asks libjpeg for its fast integer cosine transform, Pillow for the exact one.
COSINE = 16


def by_pillow(data):
    """uint8 (height, width, 3), or None where it cannot be decoded."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except Exception:
        return None
    with contextlib.suppress(Exception):  # where the orientation is not to be had
        image = ImageOps.exif_transpose(image)
    return np.asarray(image.convert("RGB"))


@functools.cache
def in_a_graph(decoder):
    tf = tensorflow("decoding")
    return tf.function(
        lambda data, orientation, unusual: decoder(data, orientation, None, unusual),
        input_signature=[
            tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int8), tf.TensorSpec((), tf.bool),
        ],
    )  # fmt: skip


def by_jaxcnn(data, channels=3):
    """uint8 (height, width, channels), or None where it is refused."""
    tf, decoder = tensorflow("decoding"), Decoder(0, channels)
    try:
        header = read_header(data)
        kind = np.int8(header.orientation), header.unusual
        image = decoder(tf.constant(data), kind[0], unusual=kind[1]).numpy()
    except (tf.errors.OpError, Unsuitable, OSError):
        return None
    np.testing.assert_array_equal(in_a_graph(decoder)(data, *kind).numpy(), image)
    assert image.shape[:2] == header.size
    return image


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("group", GROUPS)
def test_a_file_gives_the_pixels_that_pillow_gives(group):
    wrong = []
    for name, data, known in GROUPS[group]():
        expected, found = by_pillow(data) if known is None else known, by_jaxcnn(data)
        if found is None or expected is None:
            agree = found is None and expected is None
        elif found.shape != expected.shape:
            agree = False
        else:
            allowed = COSINE if data[:2] == b"\xff\xd8" else 0
            agree = np.abs(found.astype(int) - expected).max() <= allowed
        if not agree:
            wrong.append((name, None if expected is None else expected.shape,
                          None if found is None else found.shape))  # fmt: skip
    assert not wrong


def test_in_a_jpeg_the_cosine_transform_is_all_that_differs():
    tf, compared = tensorflow("decoding"), 0
    for _, data, _ in jpegs():
        header = read_header(data)
        if not header.unusual and header.orientation == 1:
            exact = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()
            np.testing.assert_array_equal(exact, by_pillow(data))
            compared += 1
    assert compared > 30


def test_there_are_hundreds_of_them():
    assert sum(1 for make in GROUPS.values() for _ in make()) > 400


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("group", ["pngs", "jpegs", "others"])
def test_grey_is_one_rule_for_all_formats(group):
    for name, data, _ in GROUPS[group]():
        red, green, blue = np.moveaxis(by_jaxcnn(data).astype(float), -1, 0)
        grey = np.floor(0.299 * red + 0.587 * green + 0.114 * blue + 0.5 + 1e-9)
        np.testing.assert_array_equal(by_jaxcnn(data, channels=1)[..., 0], grey, name)


@pytest.mark.parametrize("name", COLOUR_CHUNKS)
def test_pure_red_is_76_whatever_the_metadata_says(name):
    red = np.broadcast_to(np.array([255, 0, 0]), (4, 4, 3))
    parts = COLOUR_CHUNKS[name]
    assert (by_jaxcnn(png("colour", 8, red, chunk(*parts) if parts else b""), 1) == 76).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            tiff(np.zeros((4, 4), np.float32)),
            "a TIFF of signed or floating-point numbers; save them",
        ),
        (
            tiff(np.zeros((4, 4), np.uint32)),
            "a TIFF of 32-bit numbers; save them as floats in an .npz file",
        ),
        (tiff(np.zeros((4, 4), np.int32)), "a TIFF of signed"),
        (tiff(np.zeros((4, 4), np.int16)), "a TIFF of signed"),
        (
            tiff(np.zeros((4, 4, 3), np.uint16), photometric="rgb"),
            "16-bit colour in a TIFF, but Pillow reads only 8 bits; save it as PNG",
        ),
        (encoded(Image.new("RGB", (4, 4)), "PPM"), "it is not a JPEG, PNG, WEBP, BMP, GIF or TIFF"),
        (
            encoded(Image.new("RGB", (16, 16)), "AVIF"),
            "it is not a JPEG, PNG, WEBP, BMP, GIF or TIFF",
        ),
    ],
)
def test_what_is_refused_is_told_why(data, reason):
    with pytest.raises(Unsuitable, match=reason):
        read_header(data)
