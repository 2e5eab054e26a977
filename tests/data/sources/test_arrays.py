import gzip
import struct

import numpy as np
import pytest
from scipy.ndimage import rotate, zoom
from sklearn.datasets import load_digits

from jaxcnn.data.dataset import load_dataset
from jaxcnn.data.sources import digits as sources
from jaxcnn.data.sources.table import SOURCES
from jaxcnn.errors import UserError

pytestmark = pytest.mark.fast


def load(source, resize=0, **settings):
    return SOURCES.create(source, resize, **settings)


def test_digits():
    source = load("digits")
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 1437,
        "test": 360,
    }
    assert source.splits["train"].images.shape == (1437, 8, 8, 1)
    assert source.splits["train"].images.max() == 255
    counts = np.bincount(source.splits["test"].labels)
    assert counts.min() >= 34  # stratified
    assert counts.max() <= 37


def test_digits_are_cached_as_scikit_learn_has_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    read = load("digits").splits
    assert len(list(tmp_path.glob("jaxcnn/data/digits-*.npz"))) == 1
    cached = load("digits").splits
    pixels = {image.tobytes() for image in load_digits().images}
    for name in ("train", "test"):
        np.testing.assert_array_equal(cached[name].images, read[name].images)
        np.testing.assert_array_equal(cached[name].labels, read[name].labels)
        assert cached[name].images.dtype == np.uint8
        assert cached[name].labels.dtype == np.int32
        of_scikit_learn = np.round(cached[name].images[..., 0] * (16 / 255)).astype(float)
        assert {image.tobytes() for image in of_scikit_learn} <= pixels


def test_synthetic():
    source = load(
        "synthetic", height=6, width=5, channels=2, classes=3, train_images=30, test_images=9
    )
    assert source.splits["train"].images.shape == (30, 6, 5, 2)
    assert source.splits["train"].images.dtype == np.uint8
    assert np.bincount(source.splits["test"].labels).tolist() == [3, 3, 3]
    assert "synthetic" in source.remarks[0]
    assert load("synthetic", resize=7).splits["test"].images.shape == (1000, 7, 7, 3)
    again = load("synthetic", resize=7).splits["test"].images
    np.testing.assert_array_equal(again, load("synthetic", resize=7).splits["test"].images)
    with pytest.raises(UserError, match="data source 'synthetic': classes=0 must be at least 1"):
        load("synthetic", classes=0)


# --- IDX ---


def write_idx(path, array, compress=False):
    data = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data += array.tobytes()
    path.write_bytes(gzip.compress(data) if compress else data)


@pytest.fixture
def idx_folder(tmp_path, rng):
    for prefix, count in (("train", 20), ("t10k", 5)):
        images = rng.integers(0, 256, (count, 6, 5)).astype(np.uint8)
        labels = (np.arange(count) % 3).astype(np.uint8)
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", images)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", labels, compress=True)
    return tmp_path


def test_idx_plain_and_gzipped(idx_folder):
    source = load("idx", root=str(idx_folder))
    assert source.splits["train"].images.shape == (20, 6, 5, 1)
    assert source.splits["test"].labels.tolist() == [0, 1, 2, 0, 1]
    assert source.class_names == ("0", "1", "2")
    assert load("idx", root=str(idx_folder), class_names=("a", "b", "c")).class_names[1] == "b"


def test_idx_errors(idx_folder):
    path = idx_folder / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with pytest.raises(UserError, match="is truncated: 593 of 600 bytes"):
        load("idx", root=str(idx_folder))
    path.write_bytes(b"PNG!" + whole[4:])
    with pytest.raises(UserError, match="is not an IDX file of uint8 in 3 dimensions"):
        load("idx", root=str(idx_folder))
    path.unlink()
    with pytest.raises(UserError, match=r"has no train-images-idx3-ubyte or .*\.gz"):
        load("idx", root=str(idx_folder))
    labels = idx_folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(whole)
    labels.write_bytes(labels.read_bytes()[:-9])
    with pytest.raises(UserError, match="labels-idx1-ubyte.gz cannot be read"):
        load("idx", root=str(idx_folder))
    labels.write_bytes(gzip.compress(b"")[:10] + b"\xff" * 20)
    with pytest.raises(UserError, match="labels-idx1-ubyte.gz cannot be read"):
        load("idx", root=str(idx_folder))
    path.write_bytes(whole[:6])
    with pytest.raises(UserError, match="is not an IDX file of uint8 in 3 dimensions"):
        load("idx", root=str(idx_folder))
    with pytest.raises(UserError, match="config.data.root='/nowhere': there is no such directory"):
        load("idx", root="/nowhere")


# --- npz ---


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
    with pytest.raises(UserError, match=r"holds 'notes'; arrays are called .*ignore=\['notes'\]"):
        load("npz", path=path, ignore=("train_ids",))
    source = load("npz", path=path, ignore=("*_ids", "notes", "nots"))
    assert len(source.splits["train"]) == 4
    assert source.remarks == (f"config.data.ignore: nothing in {path} is called 'nots'",)


def images_and_labels(shape, dtype=np.uint8, labels=None):
    """Arrays of an .npz; as many labels as there are images, where none are given."""
    labels = np.arange(shape[0]) if labels is None else labels
    return {"train_images": np.zeros(shape, dtype), "train_labels": labels}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_trian": np.zeros(3)}, "holds 'x_trian'; arrays are called train_images"),
        ({"x_test": np.zeros(3), "y_test": np.zeros(3)}, "(3,); it must be (n, height, width)"),
        (
            {"test_images": np.zeros((3, 4, 4)), "test_labels": np.arange(3)},
            "has no 'train_images' (or 'x_train'); it holds: test_images, test_labels",
        ),
        (
            images_and_labels((3, 4, 4), labels=np.zeros(2, int)),
            "train_images and train_labels must be of one length, at least 1; they have 3 and 2",
        ),
        (images_and_labels((0, 4, 4)), "must be of one length, at least 1; they have 0 and 0"),
        ({"train_images": np.zeros((3, 4, 4))}, "go together; it holds train_images"),
        (
            images_and_labels((3, 4, 4)) | {"train_targets": np.zeros(3)},
            "train_images and train_labels, or train_targets, go together; it holds train_images, "
            "train_labels, train_targets",
        ),
        (
            images_and_labels((3, 4, 4))
            | {"test_images": np.zeros((3, 4, 4)), "test_targets": np.zeros(3)},
            "labels of one split and targets of another",
        ),
        (
            images_and_labels((3, 4, 4)) | {"x_train": np.zeros((3, 4, 4))},
            "holds both 'train_images' and 'x_train'; config.data.ignore=['x_train'] leaves one out",
        ),
        (
            images_and_labels((3, 4, 4))
            | {"val_labels": np.arange(3), "validation_labels": np.arange(3)},
            "holds both 'val_labels' and 'validation_labels'",
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
    with pytest.raises(UserError, match="there is no such file; it takes an .npz file"):
        load("npz", path=str(tmp_path / "missing.npz"))


# --- targets ---


def npz_of(path, **arrays):
    np.savez(path / "data.npz", **arrays)
    return {"source": "npz", "path": str(path / "data.npz"), **COMMON}


COMMON = {
    "resize": 0, "validation_fraction": 0.0, "test_fraction": 0.0, "split_seed": 0, "mean": (), "std": (),
    "statistics": "train", "placement": "host", "augment": [], "mix": [],
}  # fmt: skip


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_targets_are_standardised_by_the_training_split(tmp_path, rng, shape):
    train, test = (rng.normal(5, 3, (n, *shape)) for n in (40, 10))
    images = rng.integers(0, 255, (50, 4, 4)).astype(np.uint8)
    dataset = load_dataset(
        npz_of(
            tmp_path,
            train_images=images[:40],
            train_targets=train,
            test_images=images[40:],
            test_targets=test,
        )
    )
    assert dataset.spec.class_names == ()
    assert dataset.spec.outputs == int(np.prod(shape))
    np.testing.assert_allclose(dataset.spec.targets.mean, train.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(dataset.spec.targets.std, train.std(axis=0), rtol=1e-5)
    found = dataset.splits["test"].labels * dataset.spec.targets.std + dataset.spec.targets.mean
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(test, axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dataset.splits["train"].labels.mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_targets": np.array(["a"] * 4)}, "train_targets is <U1; targets are numbers"),
        (
            {"train_targets": np.array([1, np.nan, 2, 3])},
            "train_targets holds NaN or infinity, first in example 1",
        ),
        ({"train_targets": np.ones(3)}, "train_targets must be of one length"),
        (
            {
                "train_targets": np.ones((4, 2)),
                "test_images": np.zeros((4, 4, 4), np.uint8),
                "test_targets": np.ones((4, 3)),
            },
            "the test targets have shape (3,), but the train targets have (2,)",
        ),
    ],
)
def test_wrong_targets(tmp_path, arrays, message):
    arrays = {"train_images": np.zeros((4, 4, 4), np.uint8), **arrays}
    with pytest.raises(UserError) as error:
        load_dataset(npz_of(tmp_path, **arrays))
    assert message in str(error.value)


def test_rotated_digits_turn_anticlockwise_and_keep_a_digit_in_one_split():
    turned = sources.rotated_digits(0, copies=2, largest_angle=30.0)
    assert [len(turned.splits[name]) for name in ("train", "validation", "test")] == [
        2588,
        286,
        720,
    ]
    angles = turned.splits["test"].labels
    assert np.abs(angles).max() <= 30
    assert (angles > 0).mean() == pytest.approx(0.5, abs=0.1)

    upright = sources.digits(0).splits["test"].images
    for i in np.flatnonzero(np.abs(angles[:20]) > 5):
        same = zoom(upright[i, ..., 0] / 255, 2, order=3, mode="grid-constant", grid_mode=True)
        image = turned.splits["test"].images[i, ..., 0] / 255
        back, further = (  # scipy turns anticlockwise by a positive angle, as one sees it
            rotate(image, angle, reshape=False, order=3)[4:20, 4:20]
            for angle in (-angles[i], angles[i])
        )
        closeness = [np.corrcoef(other.ravel(), same.ravel())[0, 1] for other in (back, further)]
        assert closeness[0] > max(0.85, closeness[1])


@pytest.mark.parametrize(
    ("setting", "value"), [("copies", 0), ("largest_angle", 0.0), ("largest_angle", 181.0)]
)
def test_rotated_digits_refuse(setting, value):
    with pytest.raises(UserError, match=f"{setting}={value} must be"):
        SOURCES.create("rotated_digits", 0, **{setting: value})
