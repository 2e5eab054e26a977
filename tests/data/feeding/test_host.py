import itertools

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.augment.table import AUGMENTATIONS as AUGMENTATIONS_BY_NAME
from jaxcnn.data.augment.table import HorizontalFlip, PadAndCrop, create_augmentations
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.data.feeding import host as pipeline
from jaxcnn.data.feeding.host import eval_batches, train_batches
from tests.data.test_dataset import load

AUGMENTATIONS = (HorizontalFlip(), PadAndCrop(1))


@pytest.fixture
def numbered():
    """50 images that hold their own number, so that a batch says which examples are in it."""
    images = np.tile(np.arange(50, dtype=np.float32)[:, None, None, None], (1, 3, 3, 1))
    return dataset_from_arrays((images, np.arange(50) % 5), validation_fraction=0.0)


def numbers_in(dataset, batch):
    return np.round(batch["image"][:, 0, 0, 0] * dataset.spec.std + dataset.spec.mean).astype(int)


def take(batches, count):
    return list(itertools.islice(batches, count))


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert a[key].dtype == b[key].dtype
            np.testing.assert_array_equal(a[key], b[key])


def test_every_epoch_is_every_example_once_in_another_order(numbered):
    batches = take(train_batches(numbered, (), batch_size=8, seed=0), 25)  # 4 epochs of 6.25
    stream = np.concatenate([numbers_in(numbered, batch) for batch in batches]).reshape(4, 50)
    for epoch in stream:
        assert sorted(epoch) == list(range(50))
    assert len({tuple(epoch) for epoch in stream}) == 4


def test_the_stream_does_not_depend_on_the_batch_size(numbered):
    streams = [
        np.concatenate(
            [
                batch["image"]
                for batch in take(train_batches(numbered, AUGMENTATIONS, size, seed=3), 120 // size)
            ]
        )
        for size in (8, 24, 40)
    ]
    np.testing.assert_array_equal(streams[0], streams[1])
    np.testing.assert_array_equal(streams[0], streams[2])


def test_seeds_give_other_orders(numbered):
    first, second = (next(train_batches(numbered, (), 50, seed)) for seed in (0, 1))
    assert (first["image"] != second["image"]).any()


@pytest.mark.parametrize("start", [1, 5, 13])
def test_a_later_start_gives_the_same_batches(blobs, start):
    whole = take(train_batches(blobs, AUGMENTATIONS, 32, seed=1), 16)
    resumed = take(train_batches(blobs, AUGMENTATIONS, 32, seed=1, start_step=start), 16 - start)
    assert_equal(whole[start:], resumed)


@pytest.mark.parametrize("hosts", [2, 4])
@pytest.mark.parametrize("installed", [True, False])
def test_the_hosts_parts_are_the_batches_of_one_host(blobs, monkeypatch, hosts, installed):
    monkeypatch.setattr(pipeline, "tensorflow_installed", lambda: installed)
    for batches_of in (
        lambda rows: take(train_batches(blobs, AUGMENTATIONS, 32, 1, 3, rows), 12),
        lambda rows: list(eval_batches(blobs, "test", 32, rows)),
    ):
        parts = [batches_of(rows) for rows in np.arange(32).reshape(hosts, -1)]
        joined = [
            {key: np.concatenate([part[key] for part in of_step]) for key in of_step[0]}
            for of_step in zip(*parts, strict=True)
        ]
        assert_equal(batches_of(slice(None)), joined)


def test_the_order_does_not_depend_on_the_threads(blobs, monkeypatch):
    streams = []
    for threads in (1, 8):
        monkeypatch.setattr(pipeline.os, "cpu_count", lambda threads=threads: threads)
        streams.append(take(train_batches(blobs, AUGMENTATIONS, 16, seed=1), 30))
    assert_equal(*streams)


@pytest.mark.parametrize("name", AUGMENTATIONS_BY_NAME.names())
def test_every_augmentation_trains_through_tensorflow_as_through_numpy(name, rng, monkeypatch):
    """Compiled, it may round a half to the other side; a warp may see its neighbours' bits."""
    images = rng.integers(0, 256, (32, 16, 16, 3)).astype(np.uint8)
    dataset = dataset_from_arrays((images, np.arange(32) % 4), validation_fraction=0.0)
    augmentations = create_augmentations([{"name": name}])
    compiled = next(train_batches(dataset, augmentations, 32, seed=0))["image"]
    monkeypatch.setattr(pipeline, "tensorflow_installed", lambda: False)
    plain = next(train_batches(dataset, augmentations, 32, seed=0))["image"]
    apart = np.abs(compiled - plain) * dataset.spec.std
    assert (apart > 0.5).mean() < 2e-3


def test_evaluation_never_sees_an_augmentation(blobs):
    """Nor can it: `eval_batches` takes none. What it gives is what is stored, flipped nowhere."""
    changed = next(train_batches(blobs, AUGMENTATIONS, 180, seed=0))["image"]
    plain = next(train_batches(blobs, (), 180, seed=0))["image"]
    assert (changed != plain).any(axis=(1, 2, 3)).mean() > 0.8
    for name, split in blobs.splits.items():
        (batch,) = eval_batches(blobs, name, len(split))
        np.testing.assert_array_equal(
            batch["image"], (split.images - blobs.spec.mean) * (1 / blobs.spec.std)
        )


def test_tensorflow_and_numpy_give_the_same_bits(blobs, monkeypatch):
    def all_batches():
        yield from take(train_batches(blobs, AUGMENTATIONS, 32, seed=1), 20)
        yield from eval_batches(blobs, "test", 32)

    with_tensorflow = list(all_batches())
    monkeypatch.setattr(pipeline, "tensorflow_installed", lambda: False)
    assert_equal(with_tensorflow, list(all_batches()))


@pytest.mark.parametrize("batch_size", [1, 7, 50, 64])
def test_evaluation_counts_every_example_once(blobs, batch_size):
    batches = list(eval_batches(blobs, "test", batch_size))
    assert {len(batch["label"]) for batch in batches} == {batch_size}
    mask = np.concatenate([batch["mask"] for batch in batches])
    images = np.concatenate([batch["image"] for batch in batches])[mask]
    stored = blobs.splits["test"]
    np.testing.assert_array_equal(images, (stored.images - blobs.spec.mean) * (1 / blobs.spec.std))
    labels = np.concatenate([batch["label"] for batch in batches])[mask]
    np.testing.assert_array_equal(labels, stored.labels)


def test_training_images_are_normalised(blobs):
    images = np.concatenate([b["image"] for b in take(train_batches(blobs, (), 36, seed=0), 5)])
    assert images.dtype == np.float32
    assert abs(images.mean()) < 1e-5
    assert abs(images.std() - 1) < 1e-5


def test_files_give_the_same_batches_as_arrays(tmp_path, rng):
    """The same 40 images, once as PNG files and once as an array in the order of their paths."""
    images = rng.integers(0, 256, (40, 6, 6, 3)).astype(np.uint8)
    for i, image in enumerate(images):
        (tmp_path / f"class{i % 2}").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"class{i % 2}" / f"{i:02}.png")
    files = load(source="folder", root=str(tmp_path), test_fraction=0, validation_fraction=0)
    split = files.splits["train"]
    pixels = np.stack([split.images.decoded(i) for i in range(len(split))])
    np.testing.assert_array_equal(pixels, images[[*range(0, 40, 2), *range(1, 40, 2)]])
    arrays = type(files)({"train": type(split)(pixels, split.labels)}, files.spec)
    assert_equal(
        take(train_batches(files, AUGMENTATIONS, 16, seed=0), 6),
        take(train_batches(arrays, AUGMENTATIONS, 16, seed=0), 6),
    )
    assert_equal(list(eval_batches(files, "train", 16)), list(eval_batches(arrays, "train", 16)))
