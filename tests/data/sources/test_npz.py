"""Arrays in an .npz file: their names, and images and labels of every layout."""

import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from jaxcnn.errors import UserError
from tests.data.sources.loading import load

pytestmark = pytest.mark.fast


def save_npz(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_npz(tmp_path, rng):
    images = rng.random((10, 4, 4))
    path = save_npz(
        tmp_path / "data.npz",
        train_images=images,
        train_labels=np.arange(10) % 4,
        validation_images=images[:2],
        validation_labels=[0, 1],
    )
    source = load("npz", path=path)
    assert set(source.splits) == {"train", "validation"}
    assert source.splits["train"].images.dtype == np.float32
    assert source.splits["train"].images.shape == (10, 4, 4, 1)
    assert len(source.class_names) == 4


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (("val_images", "val_labels"), "validation"),
        (("valid_images", "valid_labels"), "validation"),
        (("test_images", "test_labels"), "test"),
        (("x_val", "y_val"), "validation"),
        (("x_valid", "y_valid"), "validation"),
        (("x_validation", "y_validation"), "validation"),
        (("x_test", "y_test"), "test"),
    ],
)
def test_npz_with_the_keys_of_medmnist_and_keras(tmp_path, rng, names, split):
    images = rng.integers(0, 256, (12, 4, 4, 3)).astype(np.uint8)
    labels = (np.arange(12) % 3).astype(np.uint8)[:, None]  # (n, 1), as MedMNIST has them
    train = ("train_images", "train_labels") if "images" in names[0] else ("x_train", "y_train")
    arrays = dict(zip((*train, *names), (images, labels, images[:5], labels[:5]), strict=True))
    source = load("npz", path=save_npz(tmp_path / "data.npz", **arrays))
    assert list(source.splits) == ["train", split]
    np.testing.assert_array_equal(source.splits["train"].images, images)
    assert source.splits["train"].labels.tolist() == [0, 1, 2] * 4
    assert source.splits[split].labels.tolist() == [0, 1, 2, 0, 1]
    assert source.class_names == ("0", "1", "2")


def test_npz_leaves_out_what_it_is_told_to(tmp_path):
    path = save_npz(
        tmp_path / "data.npz",
        train_images=np.zeros((4, 4, 4), np.uint8),
        train_labels=np.arange(4),
        train_ids=np.array([{}], object),  # is not even read
        notes=np.zeros(3),
    )
    with pytest.raises(UserError, match=r"has 'notes'; valid names are .*ignore=\['notes'\]"):
        load("npz", path=path, ignore=("train_ids",))
    source = load("npz", path=path, ignore=("*_ids", "notes", "nots"))
    assert len(source.splits["train"]) == 4
    assert source.remarks == (f"config.data.ignore: nothing in {path} matches 'nots'",)


def images_and_labels(shape, dtype=np.uint8, labels=None):
    """Arrays of an .npz; as many labels as there are images, where none are given."""
    labels = np.arange(shape[0]) if labels is None else labels
    return {"train_images": np.zeros(shape, dtype), "train_labels": labels}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_trian": np.zeros(3)}, "has 'x_trian'; valid names are train_images"),
        ({"x_test": np.zeros(3), "y_test": np.zeros(3)}, "(3,); it must be (n, height, width)"),
        (
            {"test_images": np.zeros((3, 4, 4)), "test_labels": np.arange(3)},
            "has no 'train_images' (or 'x_train'); it has: test_images, test_labels",
        ),
        (
            images_and_labels((3, 4, 4), labels=np.zeros(2, int)),
            "train_images and train_labels must be of one length, at least 1; they have 3 and 2",
        ),
        (images_and_labels((0, 4, 4)), "must be of one length, at least 1; they have 0 and 0"),
        (
            {"train_images": np.zeros((3, 4, 4))},
            "must have train_images and either train_labels or train_targets; it has train_images",
        ),
        (
            images_and_labels((3, 4, 4)) | {"train_targets": np.zeros(3)},
            "and either train_labels or train_targets; it has train_images, train_labels, train_targets",
        ),
        (
            images_and_labels((3, 4, 4))
            | {"test_images": np.zeros((3, 4, 4)), "test_targets": np.zeros(3)},
            "labels for one split and targets for another",
        ),
        (
            images_and_labels((3, 4, 4)) | {"x_train": np.zeros((3, 4, 4))},
            "has both 'train_images' and 'x_train'; config.data.ignore=['x_train'] skips one",
        ),
        (
            images_and_labels((3, 4, 4))
            | {"val_labels": np.arange(3), "validation_labels": np.arange(3)},
            "has both 'val_labels' and 'validation_labels'",
        ),
        (
            images_and_labels((2, 4, 4), labels=np.array([0, 2**32])),
            "train_labels holds 4294967296; labels are whole numbers from 0",
        ),
        (
            images_and_labels((3, 4, 4), labels=np.array([0, 1, 9])),
            "the labels go up to 9, but no training image has the label 2",
        ),
        (images_and_labels((3, 4)), "train_images has shape (3, 4); it must be"),
        (images_and_labels((3, 0, 4)), "train_images has shape (3, 0, 4); it must be"),
        (
            images_and_labels((3, 4, 4), labels=np.zeros(3)),
            "train_labels is float64 (3,); it must be whole numbers (n,), or, for regression, be "
            "named targets",
        ),
        (
            images_and_labels((3, 4, 4), labels=np.array(["a", "b", "c"])),
            "train_labels is <U1 (3,); it must be whole numbers (n,); np.unique(labels, return_inver",
        ),
        (
            images_and_labels((3, 4, 4), labels=np.eye(3, dtype=int)),
            "train_labels has shape (3, 3) and is one-hot; it must be whole numbers (n,): "
            "labels.argmax(1)",
        ),
        (
            images_and_labels((3, 4, 4), labels=np.eye(3, dtype=np.float32)),
            "labels.argmax(1)",
        ),
        (
            images_and_labels((3, 4, 4), labels=np.ones((3, 14), int)),
            "train_labels is int64 (3, 14); it must be whole numbers (n,)",
        ),
        (images_and_labels((3, 4, 4), int), "train_images is int64; images are uint8"),
        (images_and_labels((3, 4, 4), bool), "train_images is bool; images are uint8"),
        (
            images_and_labels((3, 4, 4), np.uint16),
            "is uint16; images are uint8 (0 … 255) or floats",
        ),
        (images_and_labels((3, 4, 4), "U3"), "train_images is <U3; images are uint8"),
        (images_and_labels((3, 4, 4), complex), "train_images is complex128; images are uint8"),
        (
            {"train_images": np.full((3, 4, 4), np.nan), "train_labels": np.zeros(3, int)},
            "train_images holds NaN or infinity, first in example 0",
        ),
        # Axes in another order.
        (images_and_labels((80, 3, 32, 32)), "images.transpose(0, 2, 3, 1)"),
        (images_and_labels((80, 1, 28, 28)), "images.transpose(0, 2, 3, 1)"),
        (images_and_labels((80, 3, 32, 48)), "images.transpose(0, 2, 3, 1)"),
        (images_and_labels((80, 13, 64, 64)), "images.transpose(0, 2, 3, 1)"),
        (
            images_and_labels((32, 32, 3, 80), labels=np.arange(80)),
            "has shape (32, 32, 3, 80), and there are 80 labels; images are (n, height, width, "
            "channels): images.transpose(3, 0, 1, 2)",
        ),
        (
            images_and_labels((3, 32, 32, 80), labels=np.arange(80)),
            "images.transpose(3, 1, 2, 0)",
        ),
        (images_and_labels((28, 28, 80), labels=np.arange(80)), "images.transpose(2, 0, 1)"),
    ],
)
def test_npz_errors(tmp_path, arrays, message):
    with pytest.raises(UserError) as error:
        load("npz", path=save_npz(tmp_path / "data.npz", **arrays))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "shape", [(80, 32, 32, 3), (80, 64, 48, 4), (80, 64, 64, 13), (80, 3, 32, 2), (80, 3, 5)]
)
def test_images_as_they_should_be_are_not_suspected(tmp_path, shape):
    arrays = images_and_labels(shape, labels=np.arange(80) % 7)
    images = load("npz", path=save_npz(tmp_path / "data.npz", **arrays)).splits["train"].images
    assert images.shape == (shape if len(shape) == 4 else (*shape, 1))


def test_npz_is_never_unpickled(tmp_path):
    path = save_npz(tmp_path / "evil.npz", train_images=np.array([{}], object), train_labels=[0])
    with pytest.raises(UserError, match=r"as .npz: train_images is an array of objects, which"):
        load("npz", path=path)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UserError, match=r"cannot be read as .npz"):
        load("npz", path=str(tmp_path / "text.npz"))
    with pytest.raises(UserError, match="there is no such file; set it to an .npz file"):
        load("npz", path=str(tmp_path / "missing.npz"))


def save_members(path, compression=zipfile.ZIP_DEFLATED, **contents):
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as file:
        for name, content in contents.items():
            file.writestr(f"{name}.npy", content)
    return str(path)


def member(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def declaring(shape, descr="|u1", content=b""):
    """A .npy file whose header says this, whatever its content."""
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(stream, header)
    return stream.getvalue() + content


LABELS = member(np.arange(3))
IMAGES = member(np.zeros((3, 4, 4), np.uint8))
LONG_HEADER = b"\x93NUMPY\x02\x00" + (30_000_000).to_bytes(4, "little") + bytes(30_000_000)
MANY = 2**32


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (declaring((3, 4, 4), content=bytes(30_000_000)), "48 bytes, but the file holds 30000000"),
        (declaring((3, 4000, 4000)), "48000000 bytes, but the file holds 0 bytes of it"),
        (declaring((MANY, MANY, MANY)), f"{MANY**3} bytes, but the file holds 0 bytes"),
        (declaring((3, -4, -4), content=bytes(48)), "train_images has shape (3, -4, -4)"),
        (declaring((MANY, MANY, 4), "|S0"), "train_images is of |S0; save numbers"),
        (member(np.zeros((3, 4, 4), "u1,u1")), "train_images is of [('f0', 'u1'), ('f1', 'u1')]"),
        (declaring((3, 4), ("|u1", (4,)), bytes(48)), "train_images is of ('u1', (4,)); save num"),
        (member(np.array(3, np.uint8)), "must be of one length, at least 1; they have 0 and 3"),
        (member(np.zeros((3, 0, 0), np.uint8)), "train_images has shape (3, 0, 0); it must be"),
        (member(np.zeros((0, 4, 4), np.uint8)), "at least 1; they have 0 and 3"),
        (LONG_HEADER, "cannot be read as .npz: "),
        (b"hello", "cannot be read as .npz: "),
        (IMAGES[:-1], "48 bytes, but the file holds 47"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_headers_are_checked_before_arrays_are_read(tmp_path, images, message):
    path = save_members(tmp_path / "data.npz", train_images=images, train_labels=LABELS)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as error:
            load("npz", path=path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_no_setting_names_is_not_read(tmp_path):
    """Neither an ignored array nor a member of another name, which is refused, is unpacked."""
    bomb = bytes(30_000_000)
    path = save_members(tmp_path / "data.npz", train_images=IMAGES, train_labels=LABELS, notes=bomb)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="has 'notes'; valid names"):
            load("npz", path=path)
        assert len(load("npz", path=path, ignore=("notes",)).splits["train"]) == 3
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_numpy_does_not_write(tmp_path, compression):
    members = {"train_images": IMAGES, "train_labels": LABELS}
    path = save_members(tmp_path / "data.npz", compression, **members)
    with pytest.raises(UserError, match="train_images is compressed as NumPy does not"):
        load("npz", path=path)


def test_npz_larger_than_the_memory(tmp_path, monkeypatch):
    class Little:
        available = 100

    path = save_members(tmp_path / "data.npz", train_images=IMAGES, train_labels=LABELS)
    monkeypatch.setattr("psutil.virtual_memory", Little)
    with pytest.raises(UserError, match="data.npz needs 0.0 GiB of memory, but 0.0 GiB are free"):
        load("npz", path=path)


def test_only_a_regular_file_is_opened(tmp_path):
    os.mkfifo(tmp_path / "data.npz")  # to open it would block
    with pytest.raises(UserError, match="there is no such file"):
        load("npz", path=str(tmp_path / "data.npz"))
