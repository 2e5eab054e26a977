"""TensorFlow Datasets: sets in memory, and sets of photographs that stay in their shards."""

import difflib
import os
import socket
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
from google.protobuf.message import DecodeError

from jaxcnn.data.sources.cache import cached, stamp
from jaxcnn.data.sources.decoding import Decoder
from jaxcnn.data.sources.headers import Unsuitable, read_header
from jaxcnn.data.sources.images import PLACE, EncodedImages, in_threads
from jaxcnn.data.split import Source, Split
from jaxcnn.errors import UserError
from jaxcnn.limits import PATH, UP_TO_1
from jaxcnn.tensorflow import tensorflow


def tfds(
    resize: int,
    name: str = "",
    data_dir: Annotated[str, PATH] = "",
    central_fraction: Annotated[float, UP_TO_1] = 1.0,
) -> Source:
    """A TensorFlow Datasets image classification set.

    One whose images are of one size is read into memory. One of photographs stays on disk: each image
    is read out of its shard when it is needed, in any order, and decoded then.

    Args:
      name: as in the TFDS catalogue, with a config or version where wanted.
      data_dir: where it is prepared or will be; empty: `TFDS_DATA_DIR`, else TFDS's own default.
      central_fraction: of photographs, the square in the centre, in shares of the short side, that is
        shown where no augmentation has cropped it; 0.875 is 224 of 256 pixels.

    Raises:
      UserError: the set does not exist, is not there and cannot be fetched, or does not fit memory.
    """
    builder = _prepared_builder(name, data_dir)
    features = builder.info.features
    shape, class_names = features["image"].shape, tuple(features["label"].names)
    in_splits = [s for s in ("train", "validation", "test") if s in builder.info.splits]
    if "train" not in in_splits:
        raise UserError(f"config.data.name={name!r} has no split 'train'")
    if None in shape:
        if not resize:
            raise UserError(
                f"the images of {name!r} differ in size; config.data.resize=224, say, makes them equal"
            )
        decoder = Decoder(resize, shape[-1], central_fraction)
        splits = {split: _on_disk(builder, split, decoder) for split in in_splits}
        return _labelled(splits, class_names)
    if central_fraction != 1:
        raise UserError(
            f"config.data.central_fraction={central_fraction} is for photographs; the images of "
            f"{name!r} are of one size"
        )
    return _labelled(_in_memory(builder, name, in_splits), class_names)


def _prepared_builder(name: str, data_dir: str):
    """TFDS's builder of a set of images and labels, which is there, or was fetched now."""
    tensorflow(f"config.data.source='tfds' (name={name!r})")
    import tensorflow_datasets

    if not name:
        raise UserError("config.data.name is empty; it takes the name of a TFDS set, e.g. cifar10")
    if data_dir and not Path(data_dir).is_dir():
        raise UserError(f"config.data.data_dir={data_dir!r}: there is no such directory")
    try:
        builder = tensorflow_datasets.builder(name, data_dir=data_dir or None)
    except tensorflow_datasets.core.registered.DatasetNotFoundError:
        known = tensorflow_datasets.list_builders(with_community_datasets=False)
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]!r}?" if near else "its catalogue lists those that it has"
        raise UserError(
            f"config.data.name={name!r}: TFDS has no such set; nor is one in "
            f"{data_dir or os.environ.get('TFDS_DATA_DIR') or 'its data directory'}; {advice}"
        ) from None
    except (ValueError, AssertionError) as error:
        raise UserError(f"config.data.name={name!r}: {' '.join(str(error).split())}") from error
    if not builder.is_prepared():
        _download(builder, name)
    features = builder.info.features
    if not {"image", "label"} <= set(features):
        raise UserError(
            f"config.data.name={name!r} has no 'image' and 'label', but {list(features)}"
        )
    if not isinstance(features["label"], tensorflow_datasets.features.ClassLabel):
        kind = type(features["label"]).__name__
        raise UserError(f"config.data.name={name!r} has labels that are no classes, but {kind}")
    return builder


def _in_memory(builder, name: str, in_splits: list[str]) -> dict[str, Split]:
    tf = tensorflow("reading TFDS sets")
    counts = {split: builder.info.splits[split].num_examples for split in in_splits}
    # Three copies: as read, as sorted and split, and tf.data's.
    image_bytes = int(np.prod(builder.info.features["image"].shape))
    _check_memory(repr(name), 3 * sum(counts.values()) * image_bytes)
    splits = {}
    for split, count in counts.items():
        dataset = builder.as_dataset(split=split, shuffle_files=False)
        dataset = dataset.map(
            lambda example: (example["image"], example["label"]),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        images, labels = dataset.batch(count).get_single_element()
        splits[split] = Split(images.numpy(), labels.numpy().astype(np.int32))
    return splits


def _labelled(splits: Mapping[str, Split], names: tuple[str, ...]) -> Source:
    """The splits whose labels are given; of a contest's test images they are all -1."""
    without = [name for name, split in splits.items() if (split.labels == -1).all()]
    return Source(
        {name: split for name, split in splits.items() if name not in without},
        names,
        tuple(f"the {name} images have no labels and are left out" for name in without),
    )


def _on_disk(builder, split: str, decoder: Decoder) -> Split:
    """A split whose images stay in its shards; where each is in them is looked up once, and cached."""
    info = builder.info
    if info.file_format.value != "tfrecord":
        raise UserError(
            f"the TFDS set {info.full_name} is stored as {info.file_format.value}; images that stay on "
            f"disk are read from tfrecord: `tfds convert_format --to tfrecord`"
        )
    shards = [Path(path) for path in info.splits[split].filepaths]
    stats = [(path.name, *stamp(path)) for path in shards]
    fields = "offset", "length", "label", "height", "width", "unusual"

    def compute() -> dict[str, np.ndarray]:
        parts = list(in_threads(_records, shards, f"index of {split}"))
        return {
            "shard": np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
            "record": np.concatenate(parts),
        }

    index = cached(f"{info.name}-{split}", (fields, stats), compute)
    offset, length, label, height, width, unusual = index["record"].T
    if len(offset) != info.splits[split].num_examples:
        raise UserError(
            f"{info.full_name}: the shards of {split} hold {len(offset)} images, and its "
            f"dataset_info.json says {info.splits[split].num_examples}; prepare it anew"
        )
    places = np.ones(len(offset), PLACE)  # TFDS, too, leaves images as they are stored
    places["file"], places["offset"], places["length"] = index["shard"], offset, length
    places["size"] = np.stack([height, width], axis=1)
    files = np.array([str(path) for path in shards], object)
    shape = (decoder.size, decoder.size, decoder.channels)
    images = EncodedImages(files, places, decoder, shape, unusual=unusual.astype(bool))
    return Split(images, label.astype(np.int32))


def _records(shard: Path) -> np.ndarray:
    """int64 (records, 6): an image's first byte in a shard, its bytes, its label, height and width,
    and whether it is unusual.

    A TFRecord is its length as a little-endian uint64, a checksum of 4 bytes, that many bytes and
    another checksum; here, of a serialised tf.train.Example.
    """
    tf = tensorflow("reading TFDS sets")
    found, position, size = [], 0, shard.stat().st_size
    with shard.open("rb") as file:
        while header := file.read(12):
            length = int.from_bytes(header[:8], "little")
            if position + 16 + length > size:
                raise UserError(f"{shard} is cut short at byte {position}; prepare the set anew")
            record = file.read(length)
            file.seek(4, os.SEEK_CUR)
            try:
                feature = tf.train.Example.FromString(record).features.feature
                (image,) = feature["image"].bytes_list.value
                (label,) = feature["label"].int64_list.value
                header = read_header(image)
            except (OSError, ValueError, DecodeError, Unsuitable) as error:
                raise UserError(
                    f"{shard}, byte {position}: this is no example of an image and its label; "
                    "prepare the set anew"
                ) from error
            stored = header.size if header.orientation < 5 else header.size[::-1]
            offset = position + 12 + record.index(image)
            found.append((offset, len(image), label, *stored, header.unusual))
            position += 16 + length
    return np.array(found, np.int64).reshape(-1, 6)


def _download(builder, name: str) -> None:
    advice = (
        f"prepare it on a machine with a network (`tfds build {name}`) and "
        "set TFDS_DATA_DIR or config.data.data_dir to the folder that holds it"
    )
    try:
        # TFDS asks each of its servers again and again for minutes; a name look-up tells at once.
        if not urllib.request.getproxies():
            socket.getaddrinfo("storage.googleapis.com", 443)
        builder.download_and_prepare()
    except Exception as error:
        raise UserError(
            f"TFDS set {name!r} is not in {builder.data_dir} and cannot be fetched "
            f"({type(error).__name__}); {advice}"
        ) from error


def _check_memory(what: str, size: int) -> None:
    free = psutil.virtual_memory().available
    if size > free:
        raise UserError(
            f"{what} takes {size / 2**30:.1f} GiB in memory and {free / 2**30:.1f} GiB are free"
        )
