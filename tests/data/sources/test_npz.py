"""Arrays in an .npz file: their names, and images and labels of every layout."""

import numpy as np
import pytest

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
    with pytest.raises(UserError, match=r"cannot be read as .npz: Object arrays cannot be loaded"):
        load("npz", path=path)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UserError, match=r"cannot be read as .npz"):
        load("npz", path=str(tmp_path / "text.npz"))
    with pytest.raises(UserError, match="there is no such file; set it to an .npz file"):
        load("npz", path=str(tmp_path / "missing.npz"))
