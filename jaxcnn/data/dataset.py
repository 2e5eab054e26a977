"""A data set ready to train on: splits, class names and channel statistics."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import jax
import numpy as np

from jaxcnn.data.normalisation import given_statistics, measured_splits, standardised
from jaxcnn.data.sources.images import EncodedImages
from jaxcnn.data.sources.memory import COPIES, check_memory
from jaxcnn.data.sources.table import SOURCES
from jaxcnn.data.spec import DataSpec
from jaxcnn.data.split import (
    Source,
    Split,
    class_names_or_numbers,
    refuse_one_hot,
    split_from_arrays,
)
from jaxcnn.errors import UserError
from jaxcnn.limits import FRACTION, check

IMBALANCE = 1.5  # a larger ratio of the largest to the smallest class is worth a remark

# Settings of `config.data` that apply to every source; `_prepared` takes them.
COMMON = (
    "resize", "grey_to_colour", "validation_fraction", "test_fraction", "split_seed", "stratified",
    "statistics", "mean", "std",
)  # fmt: skip
OF_FEEDING = ("augment", "mix", "placement", "seed")  # the data does not depend on them


@dataclass(frozen=True)
class Dataset:
    """What a run is trained and evaluated on.

    `splits` has 'train', plus 'validation' and 'test' if present; `spec` describes them.
    `remarks` are notes on the data for the user.
    """

    splits: Mapping[str, Split]
    spec: DataSpec
    remarks: tuple[str, ...] = ()

    def without(self, split: str) -> "Dataset":
        """The same data without one of its splits."""
        splits = {name: part for name, part in self.splits.items() if name != split}
        sizes = {name: size for name, size in self.spec.sizes.items() if name != split}
        return replace(self, splits=splits, spec=replace(self.spec, sizes=sizes))

    def fingerprint(self) -> str:
        """A digest of the data a run uses: images, labels, splits, normalisation."""
        digest, spec = hashlib.blake2b(digest_size=16), self.spec
        for name, split in sorted(self.splits.items()):
            images = split.images
            content = images
            if isinstance(images, EncodedImages):  # their pixel sums, or else their places
                content = images.places if images.moments is None else images.moments
            digest.update(f"{name} {len(split)} {images.shape}".encode())
            for array in (content, split.labels):
                digest.update(np.ascontiguousarray(array))
        digest.update(repr((spec.class_names, spec.mean.tolist(), spec.std.tolist())).encode())
        if spec.targets:
            digest.update(repr((spec.targets.mean.tolist(), spec.targets.std.tolist())).encode())
        return digest.hexdigest()


def load_dataset(settings: Mapping) -> Dataset:
    """Loads the data set described by a resolved config's `data` section.

    Raises:
      UserError: the data is missing, unreadable, inconsistent or too large.
    """
    settings = {key: value for key, value in settings.items() if key not in OF_FEEDING}
    common = {key: settings.pop(key) for key in COMMON}
    source = SOURCES.create(settings.pop("source"), common["resize"], **settings)
    return _prepared(source, **common)


def dataset_from_arrays(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray] | None = None,
    validation_fraction: float = 0.1,
    class_names: tuple[str, ...] = (),
) -> Dataset:
    """A data set from (images, labels) arrays in memory, laid out as for the source `npz`.

    Float labels are regression targets.

    Raises:
      UserError: the arrays have the wrong shape or type, or labels are out of range.
    """
    check("validation_fraction", validation_fraction, FRACTION)
    train = tuple(map(np.asarray, train))
    refuse_one_hot(train[1], "train_labels")
    kind = "targets" if np.issubdtype(train[1].dtype, np.floating) else "labels"
    splits = {"train": split_from_arrays(*train, "train", kind)}
    if test is not None:
        splits["test"] = split_from_arrays(*map(np.asarray, test), "test", kind)
    if kind == "labels":
        class_names = class_names_or_numbers(class_names, splits["train"].labels)
    source = Source(splits, class_names)
    return _prepared(source, validation_fraction=validation_fraction)


def _prepared(
    source: Source,
    resize: int = 0,
    grey_to_colour: bool = False,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.0,
    split_seed: int = 0,
    stratified: bool = False,
    statistics: str = "train",
    mean: tuple = (),
    std: tuple = (),
) -> Dataset:
    splits = {name: _in_canonical_order(split) for name, split in source.splits.items()}
    for name, split in splits.items():
        _check_labels(name, split.labels, source)
        kind, train_kind = _kind(split), _kind(splits["train"])
        if kind != train_kind:
            raise UserError(f"the {name} images are {kind}, but the train images are {train_kind}")
    _check_classes(splits["train"].labels, source.class_names)
    if stratified and not source.class_names:
        raise UserError("config.data.stratified=True needs classes, and this data has targets")
    hold_out = _hold_out_of_each_class if stratified else _hold_out
    splits = _with_held_out(splits, validation_fraction, test_fraction, split_seed, hold_out)
    splits = {name: _resized(split, resize) for name, split in splits.items()}
    if grey_to_colour:
        splits = {name: _in_colour(split) for name, split in splits.items()}
    damage, targets = [], None
    if statistics == "train" and not mean and not std:
        splits, mean, std, damage = measured_splits(splits)
    else:
        mean, std = given_statistics(splits["train"], statistics, mean, std)
    if not source.class_names:
        splits, targets = standardised(splits)
    spec = DataSpec(
        image_shape=splits["train"].image_shape,
        class_names=source.class_names,
        mean=mean.astype(np.float32),
        std=std.astype(np.float32),
        pixel_dtype=splits["train"].pixel_dtype,
        targets=targets,
        sizes={name: len(split) for name, split in splits.items()},
        class_counts=_class_counts(splits["train"].labels, source.class_names),
    )
    imbalance = _imbalance(spec.class_counts or (1,), source.class_names)
    remarks = *source.remarks, *damage, *imbalance
    return Dataset(splits, spec, remarks)


def _with_held_out(
    splits: Mapping[str, Split],
    validation_fraction: float,
    test_fraction: float,
    split_seed: int,
    hold_out: Callable[[Split, float, tuple[int, ...]], tuple[Split, Split]],
) -> dict[str, Split]:
    """The splits; a missing test or validation split is held out from train."""
    splits, fractions = dict(splits), {"test": test_fraction, "validation": validation_fraction}
    for i, (name, fraction) in enumerate(fractions.items()):
        if name not in splits and fraction > 0:
            splits["train"], held_out = hold_out(splits["train"], fraction, (split_seed, i))
            if len(held_out):
                splits[name] = held_out
    if not len(splits["train"]):
        raise UserError("the training split is empty: too few images, or too many held out")
    return splits


def _class_counts(labels: np.ndarray, class_names: tuple[str, ...]) -> tuple[int, ...] | None:
    return tuple(np.bincount(labels, minlength=len(class_names)).tolist()) if class_names else None


def _imbalance(class_counts: tuple[int, ...], class_names: tuple[str, ...]) -> list[str]:
    """A line about class sizes in the training split, if they differ much."""
    counts = np.array(class_counts)
    if counts.max() <= IMBALANCE * counts.min():
        return []
    order = np.argsort(counts, kind="stable")[::-1]
    said = [f"{counts[i]:,} {class_names[i]}" for i in order]
    if len(said) > 10:
        said = [*said[:5], "…", *said[-5:]]
    return [f"the classes differ in size: {', '.join(said)} training images"]


def _in_canonical_order(split: Split) -> Split:
    """Sorts arrays by content, so the same data in another file gives the same run."""
    if isinstance(split.images, EncodedImages):
        return split  # already ordered by path or shard
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in split.images]
    labels = split.labels.reshape(len(split), -1)
    return split[np.lexsort((*labels.T[::-1], np.array(digests)))]


def _kind(split: Split) -> str:
    """Size and dtype for a message: '28×28×1 uint8'."""
    return f"{'×'.join(map(str, split.image_shape))} {split.pixel_dtype}"


def _check_labels(name: str, labels: np.ndarray, source: Source) -> None:
    if not source.class_names:
        shape = source.splits["train"].labels.shape[1:]
        if labels.shape[1:] != shape:
            raise UserError(
                f"the {name} targets have shape {labels.shape[1:]}, but the train targets have {shape}"
            )
        return
    num_classes = len(source.class_names)
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        raise UserError(
            f"the {name} split has a label {labels[wrong][0]} ({wrong.sum()} labels out of range); "
            f"with {num_classes} classes, labels are 0 to {num_classes - 1}"
        )


def _check_classes(train_labels: np.ndarray, class_names: tuple[str, ...]) -> None:
    present = np.unique(train_labels) if class_names else ()
    if len(present) == 1:
        name = class_names[present[0]]
        raise UserError(
            f"there is only one class: all {len(train_labels):,} training images are labelled "
            f"{name!r}; classification needs two or more"
        )


def _hold_out(split: Split, fraction: float, seed: tuple[int, ...]) -> tuple[Split, Split]:
    """Holds out round(fraction·n) examples, chosen by `seed`: (rest, held out)."""
    order = np.random.default_rng(seed).permutation(len(split))
    count = round(fraction * len(split))
    return split[np.sort(order[count:])], split[np.sort(order[:count])]


def _hold_out_of_each_class(
    split: Split, fraction: float, seed: tuple[int, ...]
) -> tuple[Split, Split]:
    """As `_hold_out`, with the same share of each class; what is left of rounding goes by remainder."""
    order = np.random.default_rng(seed).permutation(len(split))
    shares = fraction * np.bincount(split.labels)
    counts = np.floor(shares).astype(int)
    missing = round(fraction * len(split)) - counts.sum()
    counts[np.argsort(counts - shares, kind="stable")[:missing]] += 1
    of_class = [order[split.labels[order] == number] for number in range(len(counts))]
    held_out = [mine[:count] for mine, count in zip(of_class, counts, strict=True)]
    rest = [mine[count:] for mine, count in zip(of_class, counts, strict=True)]
    return split[np.sort(np.concatenate(rest))], split[np.sort(np.concatenate(held_out))]


def _in_colour(split: Split) -> Split:
    """Gives grey images three equal channels."""
    if isinstance(split.images, EncodedImages):
        raise UserError(
            "config.data.grey_to_colour=True is for images in memory; those on disk are decoded to "
            f"{split.image_shape[-1]} channels"
        )
    if split.image_shape[-1] != 1:
        raise UserError(
            f"config.data.grey_to_colour=True: the images have {split.image_shape[-1]} channels, not 1"
        )
    check_memory("config.data.grey_to_colour=True", COPIES * 3 * split.images.nbytes)
    return Split(np.repeat(split.images, 3, axis=-1), split.labels)


def _resized(split: Split, size: int) -> Split:
    """Scales the centre square of arrays to size × size: bilinear, antialiased when shrinking."""
    if isinstance(split.images, EncodedImages) or size == 0:
        return split
    height, width = split.images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    squares = split.images[:, top : top + side, left : left + side]
    if side == size:
        return Split(squares, split.labels)
    scaled_bytes = len(squares) * size**2 * squares.shape[-1] * squares.dtype.itemsize
    check_memory(f"config.data.resize={size}", COPIES * scaled_bytes)
    scaled = []
    for chunk in np.array_split(squares, -(-len(squares) // 1024)):
        shape = (len(chunk), size, size, chunk.shape[-1])
        images = np.asarray(jax.image.resize(chunk.astype(np.float32), shape, "linear"))
        scaled.append(np.round(images).astype(np.uint8) if chunk.dtype == np.uint8 else images)
    return Split(np.concatenate(scaled), split.labels)
