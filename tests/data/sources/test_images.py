"""Image files as people have them: turned, broken, hostile."""

import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.augment.table import AUGMENTATIONS
from jaxcnn.data.dataset import _prepared
from jaxcnn.data.feeding.host import train_batches
from jaxcnn.data.feeding.preparation import augmentation_stages
from jaxcnn.data.sources import examining
from jaxcnn.data.sources.complaints import captured
from jaxcnn.data.sources.decoding import Decoder, read_image
from jaxcnn.data.sources.examining import measured
from jaxcnn.data.sources.headers import read_header
from jaxcnn.data.sources.images import EncodedImages
from jaxcnn.errors import UserError
from tests.data.sources.loading import load
from tests.data.sources.picture_files import chunk

pytestmark = pytest.mark.fast


@pytest.fixture
def photograph(tmp_path, rng):
    """A smooth colour JPEG of 60 × 40 pixels whose quarters differ, and its path."""
    corners = Image.fromarray(rng.integers(0, 256, (2, 3, 3)).astype(np.uint8))
    image = corners.resize((60, 40), Image.Resampling.BICUBIC)
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "0.jpg"
    image.save(path, quality=95)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_turns_an_image_as_pil_does(photograph, tmp_path, orientation, suffix):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = photograph.with_suffix(f".{suffix}")
    Image.open(photograph).save(
        path, exif=exif.tobytes(), **({"quality": 95} if suffix == "jpg" else {})
    )
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    # TensorFlow and PIL decode JPEG by different cosine transforms; the quarters differ by far more.
    np.testing.assert_allclose(read_image(Decoder(0, 3), path).astype(int), expected, atol=8)

    for other in photograph.parent.glob("*"):
        if other != path:
            other.unlink()
    images = load("folder", resize=20, root=str(tmp_path)).splits["train"].images
    assert images.places["orientation"].tolist() == [orientation]
    middle = expected[:, 10:50] if expected.shape[1] == 60 else expected[10:50]
    scaled = Image.fromarray(middle).resize((20, 20), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(images.decoded(0).astype(int), np.asarray(scaled), atol=8)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_box_is_cut_out_of_what_one_sees(photograph, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(photograph).save(photograph, exif=exif.tobytes(), quality=95)
    whole = read_image(Decoder(0, 3), photograph).astype(int)
    decoder = Decoder(8, 3)
    box = decoder(photograph.read_bytes(), orientation, np.int32([5, 11, 8, 8])).numpy()
    np.testing.assert_allclose(box.astype(int), whole[5:13, 11:19], atol=8)


@pytest.mark.parametrize("kind", ["CMYK.jpg", "RGB.bmp", "RGB.webp", "I;16.png", "RGB.tif"])
def test_a_box_is_cut_out_of_what_pillow_decodes(photograph, kind):
    mode, suffix = kind.split(".")
    path = photograph.with_suffix(f".{suffix}")
    if mode == "I;16":
        values = np.asarray(Image.open(photograph).convert("L")).astype(np.uint16) * 257
        Image.fromarray(values).save(path)
    else:
        Image.open(photograph).convert(mode).save(path)
    whole = read_image(Decoder(0, 3), path)
    box = np.int32([5, 11, 8, 8])
    cut = Decoder(8, 3)(path.read_bytes(), 1, box, unusual=True).numpy()
    np.testing.assert_array_equal(cut, whole[5:13, 11:19])


@pytest.mark.parametrize("crop", [True, False])
def test_a_batch_shows_what_is_decoded_whatever_decodes_it(photograph, tmp_path, crop):
    (tmp_path / "b").mkdir()
    original = Image.open(photograph)
    for i, (mode, suffix) in enumerate(
        [
            ("RGB", "png"),
            ("CMYK", "jpg"),
            ("P", "gif"),
            ("RGB", "webp"),
            ("RGBA", "tif"),
            ("L", "bmp"),
        ]
    ):
        original.rotate(30 * i).convert(mode).save(tmp_path / "b" / f"{i}.{suffix}")
    names = ["random_resized_crop"] if crop else []
    augmentations = [AUGMENTATIONS.create(name) for name in names]
    dataset = _prepared(load("folder", resize=8, root=str(tmp_path)), resize=8)
    assert dataset.splits["train"].images.unusual.any()
    batch = next(train_batches(dataset, augmentations, 6, seed=0))
    labels, stages = augmentation_stages(dataset, augmentations, 6, seed=0)
    np.testing.assert_array_equal(batch["label"], labels)
    shown = batch["image"] * dataset.spec.std + dataset.spec.mean
    np.testing.assert_allclose(shown, stages[-1], atol=1e-3)


def test_the_central_fraction_leaves_a_margin_out(tmp_path):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[2:14, 10:22] = 200  # three quarters of the short side
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "0.png")
    source = load("folder", resize=4, root=str(tmp_path), central_fraction=0.75)
    np.testing.assert_array_equal(source.splits["train"].images.decoded(0), 200)
    with pytest.raises(UserError, match="central_fraction=0 must be more than 0"):
        load("folder", resize=4, root=str(tmp_path), central_fraction=0)


def png(width, height=None, before=b"", after=b"", depth=8):
    """A black PNG, a square if it has no height, of so many pixels as its header says.

    It holds a megabyte of them, in a few bytes. Other chunks are before and after them.
    """
    height = width if height is None else height
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(min(10**6, height * (3 * width * depth // 8 + 1))))
    return b"".join((
        b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), before,
        chunk(b"IDAT", pixels), after, chunk(b"IEND", b""),
    ))  # fmt: skip


def bomb(kind):
    """A chunk of 30 kB that unpacks to 30 MB."""
    starts = {
        b"zTXt": b"Comment\0\0",
        b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0",
        b"iCCP": b"profile\0\0",
    }
    return chunk(kind, starts[kind] + zlib.compress(bytes(30_000_000), 1))


def tiled(side):
    """A TIFF of 16 × 16 pixels in a tile of side × side, as its header says."""
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: 9}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


UNPACKED = "Decompressed data too large"
LONGEST = 2**31 - 1
HOSTILE = {
    "truncated": (lambda good: good[: len(good) // 2], "cannot read the image"),
    "empty": (lambda good: b"", "the file is empty"),
    "text": (lambda good: b"GET / HTTP/1.1\r\n" * 20, "cannot read the image"),
    "bomb": (
        lambda good: png(20_000),
        "400000000 pixels are more than config.data.max_image_pixels=100000000",
    ),
    "large": (lambda good: png(10_001), "10,001×10,001 pixels are more than config.data.max_image"),
    "wide": (lambda good: png(LONGEST, 1), f"{LONGEST} pixels are more than config.data.max"),
    "high": (lambda good: png(1, LONGEST), f"{LONGEST} pixels are more than config.data.max"),
    "wider than PNG": (lambda good: png(2**31, 1), f"{2**31} pixels are more than config.data"),
    "overflowing": (lambda good: png(2**32 - 1), f"{(2**32 - 1) ** 2} pixels are more than"),
    "without pixels": (lambda good: png(0), "it is not a JPEG, PNG"),
    "a bomb of text": (lambda good: png(16, before=bomb(b"zTXt")), UNPACKED),
    "a bomb of XMP": (lambda good: png(16, before=bomb(b"iTXt")), UNPACKED),
    "a bomb of colours": (lambda good: png(16, before=bomb(b"iCCP")), UNPACKED),
    "a bomb of text after the pixels": (lambda good: png(16, after=bomb(b"zTXt")), UNPACKED),
    "a bomb of XMP after the pixels": (lambda good: png(16, after=bomb(b"iTXt")), UNPACKED),
    "a bomb in 16 bits": (lambda good: png(16, before=bomb(b"iCCP"), depth=16), UNPACKED),
    "many texts": (
        lambda good: png(16, before=80 * chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6)))),
        "Too much memory used in text chunks",
    ),
    "a large tile": (lambda good: tiled(40_000), "40,000×40,000 pixels are more than config"),
    "a long chunk": (
        lambda good: png(16, before=struct.pack(">I", LONGEST) + b"tEXtabc"),
        "Truncated File Read",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_named_and_never_decoded_or_skipped(photograph, tmp_path, kind):
    make, message = HOSTILE[kind]
    bad = photograph.with_name("bad.jpg")
    bad.write_bytes(make(photograph.read_bytes()))
    with pytest.raises(UserError, match=message) as error:
        load("folder", resize=8, root=str(tmp_path))
    assert str(bad) in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=message):
        read_image(Decoder(8, 3), bad)
    source = load("folder", resize=8, root=str(tmp_path), on_error="skip")
    assert len(source.splits["train"]) == 1
    assert str(bad) in source.remarks[0]


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(20_000))

    def decode(*_):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(Decoder, "__call__", decode)
    with pytest.raises(UserError, match="pixels"):
        read_image(Decoder(8, 3), path)


def test_the_number_of_pixels_may_be_limited(photograph, tmp_path):
    def read(limit, **settings):
        return load("folder", resize=8, root=str(tmp_path), max_image_pixels=limit, **settings)

    message = "60×40 pixels are more than config.data.max_image_pixels=2399"
    whole = read(2400).splits["train"].images
    for _ in range(2):  # the second time from the cache
        with pytest.raises(UserError, match=f"cannot read the image {photograph}: {message}"):
            read(2399)
    np.testing.assert_array_equal(read(2400).splits["train"].images.moments, whole.moments)
    with pytest.raises(UserError, match="at least 1 and at most 178956970"):
        read(10**9)


def test_a_large_image_within_the_limit_is_no_damage():
    with captured() as complaints:
        assert read_header(png(9_999)).size == (9_999, 9_999)
        assert complaints.not_taken() == []


def test_the_cache_does_not_depend_on_the_limit_of_pixels():
    assert repr(Decoder(8, 3)) == repr(Decoder(8, 3, most_pixels=5))
    assert repr(Decoder(8, 3)) == "Decoder(size=8, channels=3, central_fraction=1.0, white=0)"


def test_a_file_of_more_bytes_than_any_image_is_not_read(photograph, tmp_path):
    with photograph.with_name("sparse.png").open("wb") as file:
        file.truncate(10**13)
    with pytest.raises(UserError, match="10,000,000,000,000 bytes are too many for the 100,000,0"):
        load("folder", resize=8, root=str(tmp_path))


def test_a_png_called_jpg_is_read_as_what_it_is(photograph, tmp_path):
    pixels = np.asarray(Image.open(photograph))
    Image.fromarray(pixels).save(photograph, format="PNG")
    np.testing.assert_array_equal(read_image(Decoder(0, 3), photograph), pixels)
    assert len(load("folder", resize=8, root=str(tmp_path)).splits["train"]) == 1


def test_loops_of_links_are_left_out_or_named(photograph, tmp_path):
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "b")  # itself
    assert len(load("folder", resize=8, root=str(tmp_path)).splits["train"]) == 1
    (tmp_path / "a" / "1.jpg").symlink_to(tmp_path / "a" / "1.jpg")
    with pytest.raises(UserError, match=r"1.jpg: Too many levels of symbolic links"):
        load("folder", resize=8, root=str(tmp_path))


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
def test_only_regular_files_are_opened(photograph, tmp_path, kind):
    special = photograph.with_name("special.png")
    if kind == "pipe":
        os.mkfifo(special)  # to open it would block
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.relpath(special))  # a socket's path is short
    elif kind == "device":
        special.symlink_to("/dev/zero")
    else:
        special.mkdir()
    message = f"cannot read the image {special}: it is not a regular file"
    with pytest.raises(UserError) as error:
        read_image(Decoder(8, 3), special)
    assert str(error.value) == message
    if kind == "folder":
        return  # in a class folder, it is a folder of more images
    with pytest.raises(UserError) as error:
        load("folder", resize=8, root=str(tmp_path))
    assert str(error.value).startswith(message)
    source = load("folder", resize=8, root=str(tmp_path), on_error="skip")
    assert len(source.splits["train"]) == 1
    assert message in source.remarks[0]


def test_what_is_known_of_a_folder_is_cached_until_a_file_changes(
    photograph, tmp_path, monkeypatch
):
    first = load("folder", resize=8, root=str(tmp_path)).splits["train"].images
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["0.jpg", "a"]  # and no cache

    def read(*_):
        raise AssertionError("it was read again")

    with monkeypatch.context() as patch:
        patch.setattr(examining, "read_with_header", read)
        again = load("folder", resize=8, root=str(tmp_path)).splits["train"].images
        np.testing.assert_array_equal(first.moments, again.moments)
        np.testing.assert_array_equal(first.places, again.places)
        with pytest.raises(AssertionError, match="read again"):
            load("folder", resize=16, root=str(tmp_path))
        moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
        again = load("folder", resize=8, root=str(moved)).splits["train"].images
        np.testing.assert_array_equal(first.moments, again.moments)
        assert Path(again.files[0]) == moved / "a" / "0.jpg"
        moved.rename(tmp_path)

    Image.new("RGB", (30, 30), (9, 9, 9)).save(photograph)
    changed = load("folder", resize=8, root=str(tmp_path)).splits["train"].images
    assert changed.moments[0, 0].tolist() == [9 * 64] * 3


def test_a_file_that_could_not_be_read_is_tried_again(photograph, tmp_path, monkeypatch):
    """What was in its way, the permissions say, leaves its size and time as they are."""
    Image.open(photograph).save(photograph.with_name("1.jpg"))

    def forbidden(self):
        if self.name == "1.jpg":
            raise PermissionError(13, "Permission denied")
        return self.open("rb").read()

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_bytes", forbidden)
        for _ in range(2):
            source = load("folder", resize=8, root=str(tmp_path), on_error="skip")
            assert len(source.splits["train"]) == 1
            assert "1.jpg: Permission denied" in source.remarks[0]
    source = load("folder", resize=8, root=str(tmp_path), on_error="skip")
    assert len(source.splits["train"]) == 2
    assert source.remarks == ()
    monkeypatch.setattr("pathlib.Path.read_bytes", None)  # and then it is known
    assert len(load("folder", resize=8, root=str(tmp_path)).splits["train"]) == 2


def test_sums_without_moments_are_measured_once(photograph, tmp_path, monkeypatch):
    images = load("folder", resize=8, root=str(tmp_path)).splits["train"].images
    bare = EncodedImages(images.files, images.places, images.decoder, images.shape)
    np.testing.assert_array_equal(measured(bare, "train").sums, images.moments.sum(0))
    monkeypatch.setattr(EncodedImages, "decoded", None)
    np.testing.assert_array_equal(measured(bare, "train").sums, images.moments.sum(0))


def test_a_file_that_is_gone_is_said(photograph, tmp_path):
    images = load("folder", resize=8, root=str(tmp_path)).splits["train"].images
    photograph.unlink()
    with pytest.raises(UserError, match=r"cannot read the image .*0.jpg: No such file"):
        images.decoded(0)


def test_damage_of_one_image_is_logged_with_its_name(photograph, capfd, caplog):
    whole = read_image(Decoder(0, 3), photograph)
    assert caplog.messages == []
    photograph.write_bytes(photograph.read_bytes()[:-2] + bytes(30) + b"\xff\xd9")
    damaged = read_image(Decoder(0, 3), photograph)
    np.testing.assert_allclose(damaged.astype(int), whole, atol=16)  # of Pillow's transform
    (message,) = caplog.messages
    assert message.startswith(f"{photograph}: Corrupt JPEG data: ")
    assert capfd.readouterr().err == ""


def test_what_other_threads_write_meanwhile_is_passed_on(capfd):
    """TensorFlow's log puts the time before a message, so the same one differs at each decode."""
    log = "W0000 00:00:{}.518618   31437 png_io.cc:96] PNG warning: iCCP: too short\n"

    def decode(by_pillow):
        if not by_pillow:
            os.write(2, b"of an image\n" + log.format(2).encode())
        return by_pillow

    with captured() as complaints:
        os.write(2, b"of an image\nof something else\n" + log.format(1).encode())
        said = ["of an image", "PNG warning: iCCP: too short"]
        assert complaints.of(decode) == (True, said)
    assert capfd.readouterr().err == "of something else\n"
