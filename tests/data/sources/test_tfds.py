"""TFDS sets: in memory, and photographs in their shards, of which the tests make a set of their own."""

import io
import itertools
import os
import shutil

import numpy as np
import pytest
import tensorflow_datasets
from PIL import Image

from jaxcnn.data.augment.arrays import numpy_arrays
from jaxcnn.data.augment.table import create_augmentations
from jaxcnn.data.dataset import load_dataset
from jaxcnn.data.feeding import host as pipeline
from jaxcnn.data.feeding import selection as selections
from jaxcnn.data.feeding.host import eval_batches, train_batches
from jaxcnn.data.feeding.preparation import augmentation_stages
from jaxcnn.data.sources.images import EncodedImages
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve
from jaxcnn.train.start import train
from tests.data.feeding.test_host import assert_equal, take
from tests.data.sources.loading import load
from tests.photographs import make_photographs

AUGMENTATIONS = create_augmentations(
    [{"name": "random_resized_crop"}, {"name": "horizontal_flip"}, {"name": "brightness"}]
)


def test_a_set_of_images_of_one_size_is_in_memory(tfds_dir):
    source = load("tfds", name="fashion_mnist", data_dir=tfds_dir)
    assert source.splits["train"].images.shape == (60_000, 28, 28, 1)
    assert np.bincount(source.splits["test"].labels).tolist() == [1000] * 10
    assert source.class_names[9] == "Ankle boot"


def test_tfds_errors(tmp_path, monkeypatch, tfds_dir):
    with pytest.raises(
        UserError,
        match="'fashion_mnits': there is no such data set in TFDS or in .*; did you mean 'fashion_mnist'",
    ):
        load("tfds", name="fashion_mnits")
    with pytest.raises(
        UserError, match=r"config.data.data_dir='/nowhere': there is no such directory"
    ):
        load("tfds", name="mnist", data_dir="/nowhere")
    with pytest.raises(
        UserError, match="there is no such data set in TFDS or in .*; see its catalogue"
    ):
        load("tfds", name="qqqqqqqqqqqq")
    with pytest.raises(UserError, match="central_fraction=0.9 is for photographs"):
        load("tfds", name="fashion_mnist", data_dir=tfds_dir, central_fraction=0.9)
    with pytest.raises(UserError, match="set it to the name of a TFDS data set"):
        load("tfds")
    with pytest.raises(UserError, match="config.data.name='mnist:9.9.9': "):
        load("tfds", name="mnist:9.9.9")

    def no_network(*_):
        raise OSError("no network")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    with pytest.raises(UserError) as error:
        load("tfds", name="mnist", data_dir=str(tmp_path))
    assert f"TFDS data set 'mnist' is not in {tmp_path}" in str(error.value)
    assert "set TFDS_DATA_DIR or config.data.data_dir" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_does_not_fit_memory_is_refused(tfds_dir, monkeypatch):
    class Little:
        available = 10 * 2**20

    monkeypatch.setattr("psutil.virtual_memory", Little)
    with pytest.raises(UserError, match=r"needs 0.2 GiB of memory, but 0.0 GiB are free"):
        load("tfds", name="fashion_mnist", data_dir=tfds_dir)


def test_labels_that_are_no_classes_are_refused(tfds_dir, monkeypatch):
    builder = tensorflow_datasets.builder("fashion_mnist", data_dir=tfds_dir)
    features = dict(builder.info.features) | {"label": tensorflow_datasets.features.Text()}
    monkeypatch.setattr(builder.info, "_features", features)
    monkeypatch.setattr(tensorflow_datasets, "builder", lambda *_, **__: builder)
    with pytest.raises(UserError, match="has labels of type Text; they must be classes"):
        load("tfds", name="fashion_mnist", data_dir=tfds_dir)


# --- photographs ---


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """The folder of a TFDS set of 40 training and 10 test photographs, four shards each."""
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder, images=40)
    return folder


@pytest.fixture(scope="module")
def dataset(photographs):
    return load_dataset(settings_for(photographs))


def settings_for(folder, **changes):
    from jaxcnn.config import default_config

    settings = {"source": "tfds", "name": "photographs", "data_dir": str(folder), "resize": 48}
    return {**default_config().data.to_dict(), "validation_fraction": 0.0, **settings, **changes}


def test_every_record_is_found_as_tfds_reads_it(photographs):
    import tensorflow_datasets

    source = load("tfds", resize=48, name="photographs", data_dir=str(photographs))
    builder = tensorflow_datasets.builder("photographs", data_dir=str(photographs))
    for name, split in source.splits.items():
        raw = builder.as_dataset(
            split=name, decoders={"image": tensorflow_datasets.decode.SkipDecoding()}
        )
        expected = [(e["image"], int(e["label"])) for e in raw.as_numpy_iterator()]
        assert isinstance(split.images, EncodedImages)
        found = split.images.read(np.arange(len(split)))
        assert sorted(zip(found, split.labels.tolist(), strict=True)) == sorted(expected)
    assert source.class_names[0] == "china"
    assert np.bincount(source.splits["train"].labels).tolist() == [4] * 10


def test_the_index_is_made_once(photographs, monkeypatch):
    load("tfds", resize=48, name="photographs", data_dir=str(photographs))
    monkeypatch.setattr("jaxcnn.data.sources.tfds._records", None)
    load("tfds", resize=32, name="photographs", data_dir=str(photographs))


def test_a_split_without_labels_is_left_out(photographs, tmp_path, monkeypatch):
    """As ImageNet's test images, whose labels are -1."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load("tfds", resize=48, name="photographs", data_dir=str(photographs))
    (index,) = tmp_path.glob("jaxcnn/data/photographs-test-*.npz")
    arrays = dict(np.load(index))
    arrays["record"][:, 2] = -1
    np.savez(index, **arrays)
    source = load("tfds", resize=48, name="photographs", data_dir=str(photographs))
    assert list(source.splits) == ["train"]
    assert source.remarks == ("the test images have no labels and are left out",)


def test_a_shard_that_is_cut_short_or_missing_examples(photographs, tmp_path):
    copy = tmp_path / "photographs"
    shutil.copytree(photographs / "photographs", copy)
    shard = sorted(copy.glob("*/*train*"))[2]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(
        UserError, match=r"00002-of-00004 is truncated at byte [0-9]+; prepare the data set again"
    ):
        load("tfds", resize=48, name="photographs", data_dir=str(tmp_path))
    shard.write_bytes(whole[:12] + bytes(len(whole) - 12))
    with pytest.raises(UserError, match="byte 0: not an example of an image and its label"):
        load("tfds", resize=48, name="photographs", data_dir=str(tmp_path))
    shard.write_bytes((2**60).to_bytes(8, "little") + whole[8:])
    with pytest.raises(UserError, match="truncated at byte 0"):
        load("tfds", resize=48, name="photographs", data_dir=str(tmp_path))
    shard.write_bytes(b"")
    with pytest.raises(UserError, match=r"have 30 images, but dataset_info.json says 40"):
        load("tfds", resize=48, name="photographs", data_dir=str(tmp_path))


def test_photographs_of_too_many_pixels(photographs):
    given = {"resize": 48, "name": "photographs", "data_dir": str(photographs)}
    for is_indexed in (False, True):  # at a higher limit
        if is_indexed:
            load("tfds", **given)
        with pytest.raises(UserError, match=r"byte 0: .* pixels are more than config.data.max_i"):
            load("tfds", **given, max_image_pixels=1000)


def test_shards_are_regular_files(photographs, tmp_path):
    copy = tmp_path / "photographs"
    shutil.copytree(photographs / "photographs", copy)
    shard = sorted(copy.glob("*/*train*"))[2]
    shard.unlink()
    os.mkfifo(shard)  # to open it would block
    with pytest.raises(UserError, match="00002-of-00004 is missing or no regular file"):
        load("tfds", resize=48, name="photographs", data_dir=str(tmp_path))


def test_photographs_need_a_size(photographs):
    with pytest.raises(UserError, match="differ in size; for example, config.data.resize=224"):
        load("tfds", name="photographs", data_dir=str(photographs))


def test_photographs_do_not_lie_on_a_device(dataset, small_config, tmp_path):
    small_config.data.placement = "device"
    with pytest.raises(UserError, match="is for images in memory, and these stay on disk"):
        train(resolve(small_config), tmp_path / "run", dataset=dataset)


def test_statistics_are_those_of_the_centres(dataset):
    split = dataset.splits["train"]
    pixels = np.stack([split.images.decoded(i) for i in range(len(split))]).astype(np.float64)
    np.testing.assert_allclose(dataset.spec.mean, pixels.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(dataset.spec.std, pixels.std((0, 1, 2)), rtol=1e-5)


def test_published_statistics_spare_the_measuring(photographs, monkeypatch):
    monkeypatch.setattr(EncodedImages, "decoded", None)
    named = load_dataset(settings_for(photographs, statistics="imagenet"))
    np.testing.assert_allclose(named.spec.mean, 255 * np.array([0.485, 0.456, 0.406]), rtol=1e-6)


def test_order_threads_resume_and_hosts(dataset, monkeypatch):
    def batches(start=0, rows=slice(None)):
        return take(train_batches(dataset, AUGMENTATIONS, 16, 3, start, rows), 6 - start)

    whole = batches()  # 96 of 40 images: over two ends of an epoch
    assert_equal(whole[4:], batches(4))
    parts = zip(batches(0, slice(8)), batches(0, slice(8, None)), strict=True)
    assert_equal(whole, [{k: np.concatenate([a[k], b[k]]) for k in a} for a, b in parts])
    for threads in (1, 8):
        monkeypatch.setattr(pipeline.os, "cpu_count", lambda threads=threads: threads)
        assert_equal(whole, batches())
    labels = np.concatenate([batch["label"] for batch in whole])
    assert np.bincount(labels[:40]).tolist() == np.bincount(labels[40:80]).tolist() == [4] * 10


def test_the_crop_is_decoded_out_of_the_photograph(dataset):
    """As the drawn box of the whole photograph, scaled, is, but for the edges' colour."""
    split, crop = dataset.splits["train"], AUGMENTATIONS[0]
    (batch,) = take(train_batches(dataset, AUGMENTATIONS[:1], 8, seed=3), 1)
    selection = selections.TrainSelection(len(split), AUGMENTATIONS[:1], 8, 3)([0])
    ours = batch["image"] * dataset.spec.std + dataset.spec.mean
    for image, index, draws in zip(ours, selection.index[0], selection.draws[0], strict=True):
        (encoded,) = split.images.read(np.array([index]))
        whole = Image.open(io.BytesIO(encoded))
        size = np.float32(whole.height), np.float32(whole.width)
        numbers = crop.box(numpy_arrays, *size, draws[None])
        top, left, rows, columns = (float(n[0]) for n in numbers)
        assert 0.079 < rows * columns / (whole.width * whole.height) < 1.001
        box = (left, top, left + columns, top + rows)
        expected = whole.resize((48, 48), Image.Resampling.BILINEAR, box=box)
        smooth = Image.fromarray(image.round().astype(np.uint8)).resize((12, 12), Image.BOX)
        difference = np.abs(
            np.asarray(smooth).astype(float) - np.asarray(expected.resize((12, 12), Image.BOX))
        )
        assert difference.mean() < 6


def test_the_stages_that_are_drawn_are_those_that_are_trained_on(dataset):
    labels, stages = augmentation_stages(dataset, AUGMENTATIONS, 8, seed=3)
    batch = next(itertools.islice(train_batches(dataset, AUGMENTATIONS, 8, seed=3), 1))
    assert len(stages) == 4
    np.testing.assert_array_equal(labels, batch["label"])
    trained_on = batch["image"] * dataset.spec.std + dataset.spec.mean
    apart = np.abs(stages[-1].astype(float) - trained_on)
    assert apart.max() < 1.01  # a pixel may be rounded to the other side
    assert (apart > 0.01).mean() < 1e-3


def test_evaluation_shows_the_centre_alone(dataset):
    batches = list(eval_batches(dataset, "test", 5))
    images = (
        np.concatenate([batch["image"] for batch in batches]) * dataset.spec.std + dataset.spec.mean
    )
    split = dataset.splits["test"]
    stored = np.stack([split.images.decoded(i) for i in range(len(split))])
    np.testing.assert_allclose(images, stored, atol=1e-3)


def test_a_run_on_photographs_ends_and_says_when_a_shard_is_gone(
    photographs, small_config, tmp_path
):
    copy = tmp_path / "photographs"
    shutil.copytree(photographs / "photographs", copy)
    small_config.data = settings_for(tmp_path)
    small_config.data.augment = [{"name": "random_resized_crop"}, {"name": "horizontal_flip"}]
    small_config.train.update({"duration": "6 steps", "global_batch_size": 16})
    result = train(small_config, tmp_path / "run", overwrite=True)
    assert result["final"]["test"]["count"] == 10

    dataset = load_dataset(settings_for(tmp_path))
    sorted(copy.glob("*/*train*"))[1].unlink()
    with pytest.raises(UserError, match=r"cannot read the image .*00001-of-00004.*: No such file"):
        train(small_config, tmp_path / "other", dataset=dataset)
