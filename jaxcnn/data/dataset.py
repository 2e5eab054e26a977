"""A data set ready to train on: its splits, its class names, its channel statistics."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np

from jaxcnn.config import LISTS
from jaxcnn.data.images import ImageFiles
from jaxcnn.data.sources import (
    SOURCES,
    Source,
    Split,
    class_names_or_numbers,
    split_from_arrays,
)
from jaxcnn.errors import UserError


@dataclass(frozen=True)
class TargetScale:
    """Mean and standard deviation, float32 of a target's shape, over the training split.

    The targets in the splits are standardised: (target − mean)/std.
    """

    mean: np.ndarray
    std: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """What a run trains and is judged on.

    `splits` has 'train', and 'validation' and 'test' where there are any. `mean` and `std`, float32
    (channels,), are those of the stored pixels of the training split: images become (pixel − mean) /
    std. `targets` is there for a regression, whose `class_names` are none. `remarks` are what the user
    should be told about the data.
    """

    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    targets: TargetScale | None = None
    remarks: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """How many numbers a network gives for an image: one per class, or a target's entries."""
        return self.targets.mean.size if self.targets else len(self.class_names)

    def fingerprint(self) -> str:
        """A digest of all that a run takes from its data: images, labels, splits, normalisation."""
        digest = hashlib.blake2b(digest_size=16)
        for name, split in sorted(self.splits.items()):
            images = split.images
            parts = (images.sums, images.squares) if isinstance(images, ImageFiles) else (images,)
            digest.update(f"{name} {len(split)} {images.shape}".encode())
            for array in (*parts, split.labels):
                digest.update(np.ascontiguousarray(array))
        digest.update(repr((self.class_names, self.mean.tolist(), self.std.tolist())).encode())
        if self.targets:
            digest.update(repr((self.targets.mean.tolist(), self.targets.std.tolist())).encode())
        return digest.hexdigest()

    @property
    def pixel_dtype(self) -> str:
        """'uint8' (0…255) or 'float32' (on the source's own scale)."""
        return _pixel_dtype(self.splits["train"].images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)"""
        images = self.splits["train"].images
        return images.shape if isinstance(images, ImageFiles) else images.shape[1:]


def load_dataset(settings: Mapping) -> Dataset:
    """Loads what a resolved config's `data` section describes.

    Raises:
      UserError: the data is missing, unreadable, inconsistent or too large.
    """
    settings = dict(settings)
    common = {
        key: settings.pop(key)
        for key in ("resize", "validation_fraction", "test_fraction", "split_seed", "mean", "std")
    }
    for key in (*LISTS, "placement"):
        settings.pop(key)
    source = SOURCES.create(settings.pop("source"), common["resize"], **settings)
    return _prepared(source, **common)


def dataset_from_arrays(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray] | None = None,
    validation_fraction: float = 0.1,
    class_names: tuple[str, ...] = (),
) -> Dataset:
    """A data set of (images, labels) arrays in memory, as the source `npz` describes them.

    Labels that are floats are targets of a regression.

    Raises:
      UserError: the arrays have the wrong shape or type, or labels are out of range.
    """
    kind = "targets" if np.issubdtype(train[1].dtype, np.floating) else "labels"
    splits = {"train": split_from_arrays(*train, "train", kind)}
    if test is not None:
        splits["test"] = split_from_arrays(*test, "test", kind)
    if kind == "labels":
        class_names = class_names_or_numbers(class_names, splits["train"].labels)
    source = Source(splits, class_names)
    return _prepared(source, validation_fraction=validation_fraction)


def _prepared(
    source: Source,
    resize: int = 0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.0,
    split_seed: int = 0,
    mean: tuple = (),
    std: tuple = (),
) -> Dataset:
    splits = {name: _in_canonical_order(split) for name, split in source.splits.items()}
    for name, split in splits.items():
        _check_labels(name, split.labels, source)
        kind, train_kind = _kind(split.images), _kind(splits["train"].images)
        if kind != train_kind:
            raise UserError(f"the {name} images are {kind}, but the train images are {train_kind}")
    fractions = {"test": test_fraction, "validation": validation_fraction}
    for i, (name, fraction) in enumerate(fractions.items()):
        if name not in splits and fraction > 0:
            splits["train"], held_out = _hold_out(splits["train"], fraction, (split_seed, i))
            if len(held_out):
                splits[name] = held_out
    splits = {name: _resized(split, resize) for name, split in splits.items()}
    if not len(splits["train"]):
        raise UserError("the training split is empty: too few images, or too many held out")

    if bool(mean) != bool(std):
        raise UserError("config.data.mean and config.data.std are given together or not at all")
    if mean:
        images = splits["train"].images
        unit = 255 if _pixel_dtype(images) == "uint8" else 1
        try:
            mean, std = np.array(mean, float) * unit, np.array(std, float) * unit
        except (TypeError, ValueError):
            mean = std = np.empty(0)
        channels = images.shape[-1]
        if mean.shape != (channels,) or std.shape != (channels,) or (std <= 0).any():
            raise UserError(
                f"config.data.mean and config.data.std must hold {channels} numbers, one per channel, "
                "with std > 0"
            )
    else:
        mean, std = _statistics(splits["train"].images)
    targets = None
    if not source.class_names:
        splits, targets = _standardised(splits)
    return Dataset(
        splits,
        source.class_names,
        mean.astype(np.float32),
        std.astype(np.float32),
        targets,
        source.remarks,
    )


def _standardised(splits: Mapping[str, Split]) -> tuple[dict[str, Split], TargetScale]:
    train = splits["train"].labels
    mean, std = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    scale = TargetScale(np.asarray(mean, np.float32), np.where(std > 0, std, 1).astype(np.float32))
    standardised = {
        name: Split(split.images, ((split.labels - scale.mean) / scale.std).astype(np.float32))
        for name, split in splits.items()
    }
    return standardised, scale


def _in_canonical_order(split: Split) -> Split:
    """Sorts arrays by their content, so that the same data in another file gives the same run."""
    if isinstance(split.images, ImageFiles):
        return split  # these are in the order of their paths
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in split.images]
    labels = split.labels.reshape(len(split), -1)
    return split[np.lexsort((*labels.T[::-1], np.array(digests)))]


def _pixel_dtype(images: np.ndarray | ImageFiles) -> str:
    return "uint8" if isinstance(images, ImageFiles) else images.dtype.name


def _kind(images: np.ndarray | ImageFiles) -> str:
    """Size and type, as in a message: '28×28×1 uint8'."""
    shape = images.shape if isinstance(images, ImageFiles) else images.shape[1:]
    return f"{'×'.join(map(str, shape))} {_pixel_dtype(images)}"


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


def _hold_out(split: Split, fraction: float, seed: tuple[int, ...]) -> tuple[Split, Split]:
    """Splits off round(fraction·n) examples, chosen by `seed`: (the rest, those held out)."""
    order = np.random.default_rng(seed).permutation(len(split))
    count = round(fraction * len(split))
    return split[np.sort(order[count:])], split[np.sort(order[:count])]


def _resized(split: Split, size: int) -> Split:
    """Arrays: the centre square, scaled to size × size; bilinear, antialiased where it shrinks."""
    if isinstance(split.images, ImageFiles) or size == 0:
        return split
    height, width = split.images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    squares = split.images[:, top : top + side, left : left + side]
    if side == size:
        return Split(squares, split.labels)
    scaled = []
    for chunk in np.array_split(squares, -(-len(squares) // 1024)):
        shape = (len(chunk), size, size, chunk.shape[-1])
        images = np.asarray(jax.image.resize(chunk.astype(np.float32), shape, "linear"))
        scaled.append(np.round(images).astype(np.uint8) if chunk.dtype == np.uint8 else images)
    return Split(np.concatenate(scaled), split.labels)


def _statistics(images: np.ndarray | ImageFiles) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel over all pixels; a constant channel gets std 1."""
    if isinstance(images, ImageFiles):
        pixels = len(images) * images.shape[0] * images.shape[1]
        mean = images.sums.sum(0) / pixels
        variance = images.squares.sum(0) / pixels - mean**2
    else:
        channels = images.reshape(-1, images.shape[-1])
        mean = channels.mean(0, dtype=np.float64)
        variance = channels.var(0, dtype=np.float64)
    std = np.sqrt(np.maximum(variance, 0))
    return mean, np.where(std > 0, std, 1)
