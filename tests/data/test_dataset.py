import json

import numpy as np
import pytest
from PIL import Image

from jaxcnn.config import default_config
from jaxcnn.data.dataset import _prepared, dataset_from_arrays, load_dataset
from jaxcnn.data.split import Source, Split
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve
from tests.conftest import ROOT
from tests.data.sources.test_idx import write_idx

pytestmark = pytest.mark.fast

OF_0_1 = ROOT / "tests" / "golden" / "workdirs" / "of_0_1"


def load(**settings):
    config = default_config()
    config.data.update(settings)
    return load_dataset(resolve(config).data.to_dict())


def test_validation_is_held_out_of_train():
    source, dataset = load(validation_fraction=0.0), load(validation_fraction=0.2)
    assert "validation" not in source.splits
    assert len(dataset.splits["validation"]) == round(0.2 * 1437)
    assert len(dataset.splits["train"]) == 1437 - round(0.2 * 1437)

    def contents(*names):
        return sorted(image.tobytes() for name in names for image in dataset.splits[name].images)

    assert contents("train", "validation") == sorted(
        image.tobytes() for image in source.splits["train"].images
    )
    np.testing.assert_array_equal(dataset.splits["test"].images, source.splits["test"].images)


def test_what_is_held_out_depends_on_split_seed_alone():
    def validation(seed):
        return load(split_seed=seed).splits["validation"].images

    np.testing.assert_array_equal(validation(0), validation(0))
    assert not np.array_equal(validation(0), validation(1))


def test_statistics_are_those_of_train_alone():
    dataset = load(validation_fraction=0.5)
    pixels = dataset.splits["train"].images.astype(np.float64)
    np.testing.assert_allclose(dataset.spec.mean, [pixels.mean()], rtol=1e-6)
    np.testing.assert_allclose(dataset.spec.std, [pixels.std()], rtol=1e-6)


def test_statistics_may_be_given_in_units_of_the_whole_range():
    dataset = load(mean=(0.5,), std=(0.25,))
    assert dataset.spec.mean.tolist() == [127.5]
    assert dataset.spec.std.tolist() == [63.75]
    with pytest.raises(UserError, match="must hold 1 finite numbers, one per channel"):
        load(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    with pytest.raises(UserError, match="are given together or not at all"):
        load(mean=(0.5,))


def test_a_constant_channel_is_not_divided_by_zero():
    images = np.full((10, 4, 4, 1), 7, np.uint8)
    dataset = dataset_from_arrays((images, np.arange(10) % 2))
    assert dataset.spec.std.tolist() == [1.0]


def test_resize():
    assert load(resize=32).spec.image_shape == (32, 32, 1)
    flat = np.full((10, 6, 4, 1), 200, np.uint8)
    flat[:, :1] = flat[:, 5:] = 0  # outside the centre square
    from jaxcnn.data.dataset import _resized

    resized = _resized(Split(flat, np.zeros(10, np.int32)), 3)
    assert resized.images.shape == (10, 3, 3, 1)
    assert (resized.images == 200).all()


def test_grey_to_colour(tmp_path):
    grey, colour = load().splits["train"].images, load(grey_to_colour=True)
    assert colour.spec.image_shape == (8, 8, 3)
    assert len(set(colour.spec.mean.tolist())) == 1
    np.testing.assert_array_equal(colour.splits["train"].images, np.repeat(grey, 3, axis=-1))
    assert load(grey_to_colour=True, resize=16, statistics="imagenet").spec.image_shape[-1] == 3
    with pytest.raises(UserError, match="grey_to_colour=True: the images have 3 channels, not 1"):
        load(grey_to_colour=True, source="synthetic")


@pytest.mark.parametrize("source", ["digits", "rotated_digits", "synthetic"])
def test_images_that_resize_makes_larger_than_the_memory(source, monkeypatch):
    class Little:
        available = 10**9

    monkeypatch.setattr("psutil.virtual_memory", Little)
    with pytest.raises(UserError, match=r"(10000.* needs|10000×10000 .*) \d+\.\d GiB of memory"):
        load(source=source, resize=10_000)


def test_the_order_of_the_file_does_not_matter(tmp_path, rng):
    images = rng.integers(0, 256, (30, 5, 5)).astype(np.uint8)
    labels = (np.arange(30) % 3).astype(np.uint8)
    datasets = []
    for name, order in (("a", np.arange(30)), ("b", rng.permutation(30))):
        folder = tmp_path / name
        folder.mkdir()
        for prefix in ("train", "t10k"):
            write_idx(folder / f"{prefix}-images-idx3-ubyte", images[order])
            write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels[order])
        datasets.append(load(source="idx", root=str(folder)))
    for split in ("train", "validation", "test"):
        a, b = (dataset.splits[split] for dataset in datasets)
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_folder_statistics_are_those_of_the_decoded_images(tmp_path, rng):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(10):
            pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    dataset = load(source="folder", root=str(tmp_path))
    files = dataset.splits["train"].images
    pixels = np.stack([files.decoded(i) for i in range(len(files))]).astype(np.float64)
    np.testing.assert_allclose(dataset.spec.mean, pixels.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(dataset.spec.std, pixels.std((0, 1, 2)), rtol=1e-6)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 16,
        "validation": 2,
        "test": 2,
    }


def test_all_images_held_out():
    with pytest.raises(UserError, match="the training split is empty"):
        load(validation_fraction=0.9999, resize=16)


def test_labels_out_of_range():
    images, labels = np.zeros((10, 4, 4), np.uint8), np.arange(10) % 3
    with pytest.raises(UserError) as error:
        dataset_from_arrays(
            (images, labels), test=(images[:2], np.array([0, 7])), class_names=("a", "b", "c")
        )
    assert str(error.value) == (
        "the test split has a label 7 (1 labels out of range); with 3 classes, labels are 0 to 2"
    )


@pytest.mark.parametrize(
    ("test_images", "message"),
    [
        (
            np.zeros((2, 6, 6), np.uint8),
            "test images are 6×6×1 uint8, but the train images are 4×4×1",
        ),
        (
            np.zeros((2, 4, 4)),
            "the test images are 4×4×1 float32, but the train images are 4×4×1 uint8",
        ),
    ],
)
def test_splits_of_different_kinds(test_images, message):
    train = (np.zeros((10, 4, 4), np.uint8), np.arange(10) % 3)
    with pytest.raises(UserError, match=message):
        dataset_from_arrays(train, test=(test_images, np.array([0, 1])))


def test_the_fingerprint_changes_with_any_pixel_or_label(rng):
    images = rng.integers(0, 256, (20, 4, 4)).astype(np.uint8)
    labels = np.arange(20) % 2
    same, again = (dataset_from_arrays((images, labels)).fingerprint() for _ in range(2))
    assert same == again
    other = images.copy()
    other[3, 1, 1] ^= 1
    assert dataset_from_arrays((other, labels)).fingerprint() != same
    swapped = labels.copy()
    swapped[:2] = labels[1::-1]
    assert dataset_from_arrays((images, swapped)).fingerprint() != same


def test_the_fingerprint_is_that_of_runs_of_version_0_1():
    """Their checkpoints refuse data of another fingerprint."""
    notes = json.loads(
        (OF_0_1 / "checkpoints" / "latest" / "33" / "notes" / "metadata").read_text()
    )
    assert load().fingerprint() == notes["fingerprint"]


def test_statistics_by_name_are_the_published_ones():
    images, labels = np.zeros((20, 4, 4, 3), np.uint8), np.arange(20) % 2
    dataset = _prepared(Source({"train": Split(images, labels)}, ("a", "b")), statistics="cifar10")
    np.testing.assert_allclose(dataset.spec.mean / 255, [0.4914, 0.4822, 0.4465], rtol=1e-6)
    np.testing.assert_allclose(dataset.spec.std / 255, [0.2470, 0.2435, 0.2616], rtol=1e-6)
    grey = Source({"train": Split(images[..., :1], labels)}, ("a", "b"))
    with pytest.raises(
        UserError, match="must hold 1 finite numbers, one per channel.*; cifar10 has 3"
    ):
        _prepared(grey, statistics="cifar10")
    with pytest.raises(UserError, match="config.data.mean and std are given too"):
        load(source="digits", statistics="imagenet", mean=(0.5,), std=(0.5,))


@pytest.mark.parametrize(
    ("counts", "remarks"),
    [
        ((30, 20), []),
        ((31, 20), ["the classes differ in size: 31 0, 20 1 training images"]),
        (
            range(10, 130, 10),
            [
                "the classes differ in size: 120 11, 110 10, 100 9, 90 8, 80 7, …, 50 4, 40 3, 30 2, 20 1, "
                "10 0 training images"
            ],
        ),
    ],
)
def test_classes_of_very_different_size_are_remarked_upon(counts, remarks):
    labels = np.repeat(np.arange(len(counts)), list(counts))
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    dataset = dataset_from_arrays((images, labels), validation_fraction=0.0)
    assert list(dataset.remarks) == remarks


@pytest.mark.parametrize("names", [("only",), ("only", "other")])
def test_one_class_is_none_to_tell_apart(rng, names):
    images = rng.integers(0, 256, (20, 4, 4, 1)).astype(np.uint8)
    with pytest.raises(UserError, match=r"one class: all 20 training images are labelled 'only'"):
        dataset_from_arrays((images, np.zeros(20, int)), class_names=names)
    with pytest.raises(UserError, match=r"one class: all 30 training images are labelled '0'"):
        load(source="synthetic", classes=1, train_images=30)


def test_one_hot_labels_in_python_are_no_targets(rng):
    images = rng.integers(0, 256, (6, 4, 4)).astype(np.uint8)
    one_hot = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]
    with pytest.raises(UserError, match=r"train_labels .* is one-hot; .* labels.argmax\(1\)"):
        dataset_from_arrays((images, one_hot))
    dataset = dataset_from_arrays((images, one_hot.argmax(1)[:, None]), validation_fraction=0)
    assert np.bincount(dataset.splits["train"].labels).tolist() == [2, 2, 2]


def test_arrays_may_be_lists_and_settings_are_checked():
    images, labels = np.zeros((20, 4, 4, 1), np.uint8).tolist(), [0, 1] * 10
    with pytest.raises(UserError, match="train_images is int64; images are uint8"):
        dataset_from_arrays((images, labels))  # a list of numbers is int64
    images = np.zeros((20, 4, 4, 1), np.uint8)
    assert dataset_from_arrays((images, labels)).spec.sizes == {"train": 18, "validation": 2}
    with pytest.raises(UserError, match="validation_fraction=-0.5 must be at least 0"):
        dataset_from_arrays((images, labels), validation_fraction=-0.5)
    with pytest.raises(UserError, match="class_names has 'b' twice"):
        dataset_from_arrays((images, labels), class_names=("a", "b", "b"))
