import gzip
import struct

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import rotate, zoom

from jaxcnn.data import sources
from jaxcnn.data.dataset import load_dataset
from jaxcnn.data.sources import SOURCES
from jaxcnn.errors import UserError


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
    ("arrays", "message"),
    [
        ({"x_train": np.zeros(3)}, "has no 'train_images'; it holds: x_train"),
        (
            {"train_images": np.zeros((3, 4, 4)), "train_labels": np.zeros(2, int)},
            "train_images and train_labels must be of one length, at least 1; they have 3 and 2",
        ),
        (
            {"train_images": np.zeros((0, 4, 4)), "train_labels": np.zeros(0, int)},
            "must be of one length, at least 1; they have 0 and 0",
        ),
        ({"train_images": np.zeros((3, 4, 4))}, "go together; one is missing"),
        (
            {"train_images": np.zeros((2, 4, 4)), "train_labels": np.array([0, 2**32])},
            "train_labels holds 4294967296; labels are whole numbers from 0",
        ),
        (
            {"train_images": np.zeros((3, 4, 4)), "train_labels": np.array([0, 1, 9])},
            "the labels go up to 9, but no training image has the label 2",
        ),
        (
            {"train_images": np.zeros((3, 4)), "train_labels": np.zeros(3, int)},
            r"train_images has shape \(3, 4\); it must be",
        ),
        (
            {"train_images": np.zeros((3, 4, 4)), "train_labels": np.zeros(3)},
            r"train_labels is float64 \(3,\); it must be whole numbers",
        ),
    ],
)
def test_npz_errors(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message):
        load("npz", path=save_npz(tmp_path / "data.npz", **arrays))


def test_npz_is_never_unpickled(tmp_path):
    path = save_npz(tmp_path / "evil.npz", train_images=np.array([{}], object), train_labels=[0])
    with pytest.raises(UserError, match=r"cannot be read as .npz: Object arrays cannot be loaded"):
        load("npz", path=path)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UserError, match=r"cannot be read as .npz"):
        load("npz", path=str(tmp_path / "text.npz"))
    with pytest.raises(UserError, match="there is no such file; it takes an .npz file"):
        load("npz", path=str(tmp_path / "missing.npz"))


# --- folders ---


@pytest.fixture
def photos(tmp_path, rng):
    """root/{cat,dog}/: grey and colour, JPEG and PNG, of several sizes, and a file that is no image."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i, (size, mode, suffix) in enumerate(
            [((20, 10), "RGB", "png"), ((9, 30), "L", "png"), ((16, 16), "RGB", "jpg")] * 4
        ):
            pixels = rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
            Image.fromarray(pixels).convert(mode).save(tmp_path / name / f"{i}.{suffix}")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


def test_folder_of_classes(photos):
    source = load("folder", resize=8, root=str(photos))
    (split,) = source.splits.values()
    assert len(split) == 24
    assert source.class_names == ("cat", "dog")
    assert split.labels.tolist() == [0] * 12 + [1] * 12
    assert split.images.shape == (8, 8, 3)
    assert load("folder", resize=8, root=str(photos), channels=1).splits["train"].images.shape == (
        8,
        8,
        1,
    )


def test_folder_with_splits(photos):
    for split in ("train", "val", "test"):
        (photos / split).mkdir()
    for name in ("cat", "dog"):
        (photos / name).rename(photos / "train" / name)
        for split in ("val", "test"):
            (photos / split / name).mkdir()
            Image.new("RGB", (8, 8)).save(photos / split / name / "0.png")
    source = load("folder", resize=8, root=str(photos))
    assert {k: len(s) for k, s in source.splits.items()} == {
        "train": 24,
        "validation": 2,
        "test": 2,
    }
    (photos / "test" / "cats").mkdir()
    Image.new("RGB", (8, 8)).save(photos / "test" / "cats" / "0.png")
    with pytest.raises(UserError, match="train has no class 'cats'; did you mean 'cat'"):
        load("folder", resize=8, root=str(photos))


def test_the_centre_square_is_what_is_scaled(tmp_path):
    (tmp_path / "a").mkdir()
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 2:6] = 200  # the centre square
    Image.fromarray(pixels).save(tmp_path / "a" / "0.png")
    split = load("folder", resize=2, root=str(tmp_path)).splits["train"]
    np.testing.assert_array_equal(split.images.decoder(split.images.paths[0]), 200)


def test_an_unreadable_image_is_named_or_skipped(photos):
    broken = photos / "dog" / "2.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    (photos / "dog" / "5.jpg").write_bytes(b"")
    with pytest.raises(UserError) as error:
        load("folder", resize=8, root=str(photos))
    assert str(broken) in str(error.value)
    assert "(and 1 more)" in str(error.value)
    assert "--config.data.on_error=skip" in str(error.value)
    assert "\n" not in str(error.value)

    source = load("folder", resize=8, root=str(photos), on_error="skip")
    assert len(source.splits["train"]) == 22
    assert source.splits["train"].labels.tolist() == [0] * 12 + [1] * 10
    (remark,) = source.remarks
    assert remark.startswith("skipped 2 unreadable of 24 train images")
    assert str(broken) in remark


def test_folder_errors(photos):
    with pytest.raises(
        UserError, match=r"images differ in size: .* is 10×20, .* is 30×9; --config"
    ):
        load("folder", root=str(photos))
    with pytest.raises(UserError, match=r"no .jpg or .png in .*/CLASS/; expected root/train/CLASS"):
        load("folder", root=str(photos / "cat"), resize=8)
    with pytest.raises(UserError, match="config.data.root='/nowhere': there is no such directory"):
        load("folder", root="/nowhere")
    with pytest.raises(UserError, match="config.data.on_error='ignore'; valid: 'stop', 'skip'"):
        load("folder", root=str(photos), on_error="ignore")


# --- TFDS ---


def test_tfds(tfds_dir):
    source = load("tfds", name="fashion_mnist", data_dir=tfds_dir)
    assert source.splits["train"].images.shape == (60_000, 28, 28, 1)
    assert np.bincount(source.splits["test"].labels).tolist() == [1000] * 10
    assert source.class_names[9] == "Ankle boot"


def test_tfds_errors(tmp_path, monkeypatch):
    with pytest.raises(
        UserError, match="'fashion_mnits': TFDS has no such set; did you mean 'fashion_"
    ):
        load("tfds", name="fashion_mnits")
    with pytest.raises(
        UserError, match=r"config.data.data_dir='/nowhere': there is no such directory"
    ):
        load("tfds", name="mnist", data_dir="/nowhere")
    with pytest.raises(UserError, match="it takes the name of a TFDS set"):
        load("tfds")
    with pytest.raises(UserError, match="config.data.name='mnist:9.9.9': "):
        load("tfds", name="mnist:9.9.9")

    def no_network(*_):
        raise OSError("no network")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    with pytest.raises(UserError) as error:
        load("tfds", name="mnist", data_dir=str(tmp_path))
    assert f"TFDS set 'mnist' is not in {tmp_path}" in str(error.value)
    assert "set TFDS_DATA_DIR or --config.data.data_dir" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_does_not_fit_memory_is_refused(tfds_dir, monkeypatch):
    class Little:
        available = 10 * 2**20

    monkeypatch.setattr("psutil.virtual_memory", Little)
    with pytest.raises(UserError, match=r"takes 0.1 GiB in memory and 0.0 GiB are free"):
        load("tfds", name="fashion_mnist", data_dir=tfds_dir)


# --- targets ---


def npz_of(path, **arrays):
    np.savez(path / "data.npz", **arrays)
    return {"source": "npz", "path": str(path / "data.npz"), **COMMON}


COMMON = {
    "resize": 0, "validation_fraction": 0.0, "test_fraction": 0.0, "split_seed": 0, "mean": (), "std": (),
    "augment": [], "mix": [],
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
    assert dataset.class_names == ()
    assert dataset.outputs == int(np.prod(shape))
    np.testing.assert_allclose(dataset.targets.mean, train.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(dataset.targets.std, train.std(axis=0), rtol=1e-5)
    found = dataset.splits["test"].labels * dataset.targets.std + dataset.targets.mean
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
    with pytest.raises(UserError, match=f"config.data.{setting}={value} must be"):
        sources.rotated_digits(0, **{setting: value})
