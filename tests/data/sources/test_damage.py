"""Damaged images that can be decoded: what decoders print is logged once, with the image's name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.augment.table import create_augmentations
from jaxcnn.data.dataset import _prepared, load_dataset
from jaxcnn.data.feeding.host import eval_batches, train_batches
from tests import photographs
from tests.data.feeding.test_host import take
from tests.data.sources.folders import put
from tests.data.sources.loading import load
from tests.data.sources.picture_files import chunk, exif, png
from tests.data.sources.test_tfds import settings_for

pytestmark = pytest.mark.fast


def damaged(jpeg):
    """A JPEG with stray bytes before its end, at which libjpeg prints a warning and continues."""
    return jpeg[:-2] + bytes(30) + jpeg[-2:]


def damaged_jpeg(rng):
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(file, "JPEG")
    return damaged(file.getvalue())


def read_epochs(source):
    """Reads the training images as evaluation does, twice."""
    dataset = _prepared(source, resize=8)
    for _ in range(2):
        list(eval_batches(dataset, "train", 8))


def test_damage_is_logged_once_with_the_name_of_the_file(photos, rng, capfd):
    (photos / "cat" / "2.jpg").write_bytes(damaged_jpeg(rng))
    (photos / "dog" / "5.jpg").write_bytes(damaged_jpeg(rng))
    cut = b"Exif\0\0" + exif(6)[:15]
    Image.new("RGB", (16, 16)).save(photos / "dog" / "exif.jpg", exif=cut)
    for _ in range(2):  # decoded, and then cached
        source = load("folder", resize=8, root=str(photos))
        (remark,) = [remark for remark in source.remarks if "damaged" in remark]
        assert remark.startswith("decoded 3 damaged of 25 train images: ")
        assert f"{photos}/cat/2.jpg: Corrupt JPEG data: " in remark
        assert f"{photos}/dog/5.jpg: Corrupt JPEG data: " in remark
        assert f"{photos}/dog/exif.jpg: Corrupt EXIF data. Expecting to read 12 bytes" in remark
        assert "extraneous bytes before marker 0xd9" in remark
    images = source.splits["train"].images
    unusual = [str(file) for file in images.files[images.unusual]]
    assert unusual == [f"{photos}/cat/2.jpg", f"{photos}/dog/5.jpg"]  # Pillow prints nothing
    for position in range(len(images)):
        images.decoded(position)
    read_epochs(source)
    assert capfd.readouterr().err == ""


def deflated(mode):
    """A TIFF whose compressed pixels have a wrong checksum."""
    file = io.BytesIO()
    Image.new(mode, (8, 8)).save(file, "TIFF", compression="tiff_deflate")
    with Image.open(file) as image:
        (start,), (length,) = (image.tag_v2[tag] for tag in (273, 279))  # of its strip
    data = bytearray(file.getvalue())
    data[start + length - 1] ^= 255
    return bytes(data)


def faxed():
    """A TIFF with a wrong code word in the middle of its fax encoding."""
    rng, file = np.random.default_rng(0), io.BytesIO()
    bits = Image.fromarray(255 * rng.integers(0, 2, (24, 24)).astype(np.uint8)).convert("1")
    bits.save(file, "TIFF", compression="group4")
    with Image.open(file) as image:
        (start,), (length,) = (image.tag_v2[tag] for tag in (273, 279))
    data = bytearray(file.getvalue())
    data[start + length // 2] ^= 255
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [(deflated("YCbCr"), "ZIPDecode: Decoding error"), (faxed(), "Fax4Decode: ")],
    ids=["deflate", "fax"],
)
def test_libtiffs_errors_are_logged_once(tmp_path, capfd, data, said):
    """Pillow goes on after them, but cannot keep libtiff from printing them."""
    put(tmp_path, "a/0.png", "b/0.png")
    path = tmp_path / "a" / "1.tif"
    path.write_bytes(data)
    for _ in range(2):
        source = load("folder", resize=8, root=str(tmp_path))
        (remark,) = source.remarks
        assert remark.startswith(f"decoded 1 damaged of 3 train images: {path}: {said}")
    read_epochs(source)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("depth", [8, 16])
def test_odd_metadata_of_a_png_is_not_printed(tmp_path, rng, capfd, depth):
    """TensorFlow prints libpng's warnings; it also decodes the 16-bit PNGs that Pillow would cut."""
    put(tmp_path, "a/0.png", "b/0.png")
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(b"nonsense"))
    gamma = chunk(b"gAMA", struct.pack(">I", 0))
    values = rng.integers(0, 2**depth, (8, 8, 3))
    (tmp_path / "a" / "1.png").write_bytes(png("colour", depth, values, before=gamma + profile))
    source = load("folder", resize=8, root=str(tmp_path))
    if depth == 8:
        path = tmp_path / "a" / "1.png"
        assert source.remarks[0].startswith(
            f"decoded 1 damaged of 3 train images: {path}: PNG warning: gAMA: gamma value out of range"
        )
    read_epochs(source)
    assert capfd.readouterr().err == ""


@pytest.fixture
def damaged_photographs(tmp_path, monkeypatch):
    """The folder of a TFDS set of 20 training and 5 test photographs, 4 and 1 of them damaged."""
    whole, made = photographs.as_jpeg, []

    def as_jpeg(image):
        made.append(image)
        return damaged(whole(image)) if len(made) % 5 == 3 else whole(image)

    monkeypatch.setattr(photographs, "as_jpeg", as_jpeg)
    photographs.make_photographs(tmp_path, images=20)
    return tmp_path


def test_damaged_photographs_of_a_tfds_set_are_logged_once(damaged_photographs, capfd):
    capfd.readouterr()
    for _ in range(2):  # decoded, and then cached
        dataset = load_dataset(settings_for(damaged_photographs))
        of_train, of_test = dataset.remarks
        assert of_train.startswith("decoded 4 damaged of 20 train images: ")
        assert of_test.startswith("decoded 1 damaged of 5 test images: ")
        images = dataset.splits["train"].images
        for position in np.flatnonzero(images.unusual):
            assert f"{images.name(position)}: Corrupt JPEG data: " in of_train
        assert "tfrecord-0000" in of_train
    assert images.unusual.sum() == 4
    for _ in range(2):
        list(eval_batches(dataset, "train", 5))
        list(eval_batches(dataset, "test", 5))
    for names in ((), ("random_resized_crop",)):
        augmentations = create_augmentations([{"name": name} for name in names])
        take(train_batches(dataset, augmentations, 5, 0), 8)
    assert capfd.readouterr().err == ""


def test_damaged_photographs_are_decoded_as_before(damaged_photographs):
    """Stray bytes change no pixel: Pillow's transform is all that differs."""
    images = load_dataset(settings_for(damaged_photographs)).splits["train"].images
    for position in np.flatnonzero(images.unusual):
        (encoded,) = images.read(np.array([position]))
        by_tensorflow = images.decoder(encoded, 1).numpy().astype(int)
        np.testing.assert_allclose(images.decoded(position), by_tensorflow, atol=16)
