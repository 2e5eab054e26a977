"""TensorFlow Datasets: small images in memory, photographs on disk in their shards."""

import difflib
import functools
import os
import socket
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from google.protobuf.message import DecodeError

from jaxcnn.data.sources.cache import cached, stamp
from jaxcnn.data.sources.decoding import Decoder
from jaxcnn.data.sources.headers import TooLarge, Unsuitable, read_header
from jaxcnn.data.sources.images import PLACE, EncodedImages, in_threads
from jaxcnn.data.sources.memory import COPIES, check_memory
from jaxcnn.data.sources.pixels import MOST_PIXELS, PIXEL_LIMIT
from jaxcnn.data.split import Source, Split, existing_directory, split_named
from jaxcnn.errors import UserError
from jaxcnn.limits import PATH, UP_TO_1
from jaxcnn.tensorflow import tensorflow


def tfds(
    resize: int,
    name: str = "",
    data_dir: Annotated[str, PATH] = "",
    central_fraction: Annotated[float, UP_TO_1] = 1.0,
    max_image_pixels: Annotated[int, PIXEL_LIMIT] = MOST_PIXELS,
) -> Source:
    """An image classification data set of TensorFlow Datasets.

    Images of one size are read into memory. Photographs, which differ in size, stay on disk: each is
    read from its shard and decoded when needed, in any order.

    Args:
      resize: photographs are scaled to resize × resize pixels.
      name: as in the TFDS catalogue, optionally with a config or version.
      data_dir: where the data set is or will be prepared; empty: `TFDS_DATA_DIR`, else TFDS's default.
      central_fraction: for photographs, side of the central square to show, as a share of the short
        side, when no augmentation crops the image; 0.875 is 224 of 256 pixels.
      max_image_pixels: a photograph whose header declares more stops the run.

    Raises:
      UserError: the data set does not exist, cannot be downloaded, or does not fit in memory.
    """
    builder = _prepared_builder(name, data_dir)
    features = builder.info.features
    shape, class_names = features["image"].shape, tuple(features["label"].names)
    in_splits, remarks = _named_splits(builder.info.splits)
    if (dtype := np.dtype(features["image"].np_dtype)) != np.uint8:
        raise UserError(
            f"config.data.name={name!r} has images of {dtype}, but only uint8 is read; save them in an "
            ".npz file (source='npz')"
        )
    if "train" not in in_splits:
        raise UserError(f"config.data.name={name!r} has no split 'train'")
    if None in shape:
        if not resize:
            raise UserError(
                f"the images of {name!r} differ in size; for example, config.data.resize=224 makes "
                "them equal"
            )
        decoder = Decoder(resize, shape[-1], central_fraction, most_pixels=max_image_pixels)
        splits = {split: _on_disk(builder, theirs, decoder) for split, theirs in in_splits.items()}
        return _labelled(splits, class_names, remarks)
    if central_fraction != 1:
        raise UserError(
            f"config.data.central_fraction={central_fraction} is for photographs; the images of "
            f"{name!r} all have the same size"
        )
    return _labelled(_in_memory(builder, name, in_splits), class_names, remarks)


def _named_splits(infos: Mapping) -> tuple[dict[str, str], list[str]]:
    """TFDS's names of the splits, by ours, and a remark about the others."""
    found, others = {}, []
    for name, info in infos.items():
        split = split_named(name)
        if split in found:
            raise UserError(
                f"the TFDS data set has both {found[split]!r} and {name!r} for the {split} split"
            )
        if split:
            found[split] = name
        else:
            others.append(f"{name} ({info.num_examples:,} images)")
    ordered = {split: found[split] for split in ("train", "validation", "test") if split in found}
    remarks = [f"left out of the TFDS data set: {', '.join(others)}"] if others else []
    return ordered, remarks


def _prepared_builder(name: str, data_dir: str):
    """TFDS's builder of a data set with images and labels; downloads the data if needed."""
    tensorflow(f"config.data.source='tfds' (name={name!r})")
    import tensorflow_datasets

    if not name:
        raise UserError(
            "config.data.name is empty; set it to the name of a TFDS data set, e.g. cifar10"
        )
    if data_dir:
        existing_directory("config.data.data_dir", data_dir)
    try:
        builder = tensorflow_datasets.builder(name, data_dir=data_dir or None)
    except tensorflow_datasets.core.registered.DatasetNotFoundError:
        known = tensorflow_datasets.list_builders(with_community_datasets=False)
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]!r}?" if near else "see its catalogue for the names"
        raise UserError(
            f"config.data.name={name!r}: there is no such data set in TFDS or in "
            f"{data_dir or os.environ.get('TFDS_DATA_DIR') or 'its data directory'}; {advice}"
        ) from None
    except (ValueError, AssertionError) as error:
        raise UserError(f"config.data.name={name!r}: {' '.join(str(error).split())}") from error
    if not builder.is_prepared():
        _download(builder, name)
    features = builder.info.features
    if not {"image", "label"} <= set(features):
        raise UserError(
            f"config.data.name={name!r} must have 'image' and 'label'; it has {list(features)}"
        )
    if not isinstance(features["label"], tensorflow_datasets.features.ClassLabel):
        kind = type(features["label"]).__name__
        raise UserError(
            f"config.data.name={name!r} has labels of type {kind}; they must be classes"
        )
    return builder


def _in_memory(builder, name: str, in_splits: Mapping[str, str]) -> dict[str, Split]:
    """Reads the splits into memory, if they fit."""
    tf = tensorflow("reading TFDS sets")
    counts = {
        split: builder.info.splits[theirs].num_examples for split, theirs in in_splits.items()
    }
    image_bytes = int(np.prod(builder.info.features["image"].shape))
    check_memory(repr(name), COPIES * sum(counts.values()) * image_bytes)
    splits = {}
    for split, count in counts.items():
        dataset = builder.as_dataset(split=in_splits[split], shuffle_files=False)
        dataset = dataset.map(
            lambda example: (example["image"], example["label"]),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        images, labels = dataset.batch(count).get_single_element()
        splits[split] = Split(images.numpy(), labels.numpy().astype(np.int32))
    return splits


def _labelled(
    splits: Mapping[str, Split], names: tuple[str, ...], remarks: Sequence[str]
) -> Source:
    """Leaves out splits without labels: in a contest's test split they are all -1."""
    without = [name for name, split in splits.items() if (split.labels == -1).all()]
    return Source(
        {name: split for name, split in splits.items() if name not in without},
        names,
        (*remarks, *(f"the {name} images have no labels and are left out" for name in without)),
    )


def _on_disk(builder, split: str, decoder: Decoder) -> Split:
    """A split whose images stay in its shards; the index of their places is cached."""
    info = builder.info
    if info.file_format.value != "tfrecord":
        raise UserError(
            f"the TFDS data set {info.full_name} is stored as {info.file_format.value}; photographs "
            "are read only from tfrecord: convert it with `tfds convert_format --to tfrecord`"
        )
    shards = [Path(path) for path in info.splits[split].filepaths]
    for shard in shards:
        if not shard.is_file():
            raise UserError(f"{shard} is missing or no regular file; prepare the data set again")
    stats = [(path.name, *stamp(path)) for path in shards]
    fields = "offset", "length", "label", "height", "width", "unusual"

    def compute() -> dict[str, np.ndarray]:
        records = functools.partial(_records, most_pixels=decoder.most_pixels)
        parts = list(in_threads(records, shards, f"index of {split}"))
        return {
            "shard": np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
            "record": np.concatenate(parts),
        }

    def is_valid(index) -> bool:
        return bool((index["record"][:, 3:5].prod(axis=1) <= decoder.most_pixels).all())

    index = cached(f"{info.name}-{split}", (fields, stats), compute, is_valid)
    offset, length, label, height, width, unusual = index["record"].T
    if len(offset) != info.splits[split].num_examples:
        raise UserError(
            f"{info.full_name}: the shards of {split} have {len(offset)} images, but "
            f"dataset_info.json says {info.splits[split].num_examples}; prepare the data set again"
        )
    places = np.ones(len(offset), PLACE)  # orientation 1: TFDS, too, ignores EXIF
    places["file"], places["offset"], places["length"] = index["shard"], offset, length
    places["size"] = np.stack([height, width], axis=1)
    files = np.array([str(path) for path in shards], object)
    shape = (decoder.size, decoder.size, decoder.channels)
    images = EncodedImages(files, places, decoder, shape, unusual=unusual.astype(bool))
    return Split(images, label.astype(np.int32))


def _records(shard: Path, most_pixels: int) -> np.ndarray:
    """int64 (records, 6): offset, length in bytes, label, height, width, `unusual` of each image.

    A TFRecord is a length as little-endian uint64, a 4-byte checksum, that many bytes (here a
    serialised tf.train.Example), and another 4-byte checksum.
    """
    tf = tensorflow("reading TFDS sets")
    found, position, size = [], 0, shard.stat().st_size
    with shard.open("rb") as file:
        while header := file.read(12):
            length = int.from_bytes(header[:8], "little")
            if position + 16 + length > size:
                raise UserError(
                    f"{shard} is truncated at byte {position}; prepare the data set again"
                )
            record = file.read(length)
            file.seek(4, os.SEEK_CUR)
            try:
                feature = tf.train.Example.FromString(record).features.feature
                (image,) = feature["image"].bytes_list.value
                (label,) = feature["label"].int64_list.value
                header = read_header(image, most_pixels)
            except TooLarge as error:
                raise UserError(f"{shard}, byte {position}: {error}") from error
            except (OSError, ValueError, DecodeError, Unsuitable) as error:
                raise UserError(
                    f"{shard}, byte {position}: not an example of an image and its label; prepare "
                    "the data set again"
                ) from error
            stored = header.size if header.orientation < 5 else header.size[::-1]
            offset = position + 12 + record.index(image)
            found.append((offset, len(image), label, *stored, header.unusual))
            position += 16 + length
    return np.array(found, np.int64).reshape(-1, 6)


def _download(builder, name: str) -> None:
    advice = (
        f"prepare it on a machine with a network (`tfds build {name}`) and "
        "set TFDS_DATA_DIR or config.data.data_dir to its folder"
    )
    try:
        # Without a network TFDS retries for minutes; a name lookup fails at once.
        if not urllib.request.getproxies():
            socket.getaddrinfo("storage.googleapis.com", 443)
        builder.download_and_prepare()
    except Exception as error:
        raise UserError(
            f"TFDS data set {name!r} is not in {builder.data_dir} and cannot be downloaded "
            f"({type(error).__name__}); {advice}"
        ) from error
