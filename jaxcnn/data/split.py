"""What an image source returns: its splits, checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcnn.data.sources.images import EncodedImages
from jaxcnn.errors import UserError


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    `images` is an array (n, height, width, channels), uint8 in 0…255 or float32 as given, or encoded
    images on disk, decoded when needed; `labels` is int32 (n,), class numbers, or float32 (n, …),
    regression targets.
    """

    images: np.ndarray | EncodedImages
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index) -> "Split":
        return Split(self.images[index], self.labels[index])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        shape = self.images.shape
        return shape if isinstance(self.images, EncodedImages) else shape[1:]

    @property
    def pixel_dtype(self) -> str:
        """'uint8' or 'float32'."""
        return "uint8" if isinstance(self.images, EncodedImages) else self.images.dtype.name


_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


def split_named(name: str) -> str | None:
    """The split that a folder or a part of a data set is by its name, such as 'valid' or 'Test_set'."""
    return _NAMES.get(re.sub(r"[ _-]?(set|split|data|images)$", "", name.lower()))


@dataclass(frozen=True)
class Source:
    """A source's splits, named train, validation and test; train is required for training.

    `class_names` is empty for regression.
    """

    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def split_from_arrays(
    images: np.ndarray, labels: np.ndarray, where: str, kind: str = "labels"
) -> Split:
    """Checks and converts arrays laid out as for the source `npz`.

    Args:
      where: prefix of error messages.
      kind: 'labels' or 'targets'.

    Raises:
      UserError: an array has a wrong shape, dtype or value.
    """
    _check_layout(images, labels, where, kind)
    images = images[..., None] if images.ndim == 3 else images
    if np.issubdtype(images.dtype, np.floating):
        images = images.astype(np.float32)
        _check_finite(images, f"{where}_images")
    elif images.dtype != np.uint8:
        raise UserError(
            f"{where}_images is {images.dtype}; images are uint8 (0 … 255) or floats on any scale: "
            "images.astype('uint8'), or images.astype('float32')"
        )
    if kind == "targets":
        return Split(images, _targets(labels, f"{where}_targets"))
    return Split(images, _labels(labels, f"{where}_labels"))


def _check_layout(images: np.ndarray, labels: np.ndarray, where: str, kind: str) -> None:
    """Rejects axes in the wrong order; the message suggests a transpose if one is likely."""
    shape, examples = images.shape, len(labels) if labels.ndim else 0
    order = None
    if images.ndim == 4 and shape[0] != examples == shape[3]:
        order = "3, 0, 1, 2" if shape[2] < shape[0] else "3, 1, 2, 0"
    elif images.ndim == 3 and shape[0] != examples == shape[2]:
        order = "2, 0, 1"
    elif images.ndim == 4 and _is_channels_first(shape):
        order = "0, 2, 3, 1"
    if order:
        raise UserError(
            f"{where}_images has shape {shape}, and there are {examples} {kind}; images are (n, "
            f"height, width, channels): images.transpose({order})"
        )
    if not images.ndim or len(images) != examples or examples == 0:
        raise UserError(
            f"{where}_images and {where.split()[-1]}_{kind} must be of one length, at least 1; "
            f"they have {len(images) if images.ndim else 0} and {examples}"
        )
    if images.ndim not in (3, 4) or 0 in shape:
        raise UserError(
            f"{where}_images has shape {shape}; "
            "it must be (n, height, width) or (n, height, width, channels)"
        )


def _is_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether (n, a, b, c) is likely (n, channels, height, width): no image is 3 pixels high."""
    _, first, second, last = shape
    return last > 4 and (first <= 4 or first < second == last)


def _labels(labels: np.ndarray, where: str) -> np.ndarray:
    """Converts whole numbers (n,) or (n, 1) to int32 (n,)."""
    labels = labels[:, 0] if labels.shape[1:] == (1,) else labels
    refuse_one_hot(labels, where)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        hint = ""
        if labels.dtype.kind in "US":
            hint = "; np.unique(labels, return_inverse=True)[1] numbers them"
        elif labels.ndim == 1 and np.issubdtype(labels.dtype, np.floating):
            hint = ", or, for regression, be named targets"
        raise UserError(
            f"{where} is {labels.dtype} {labels.shape}; it must be whole numbers (n,){hint}"
        )
    if labels.min() < 0 or labels.max() > np.iinfo(np.int32).max:
        wrong = labels[(labels < 0) | (labels > np.iinfo(np.int32).max)]
        raise UserError(f"{where} holds {wrong[0]}; labels are whole numbers from 0")
    return labels.astype(np.int32)


def refuse_one_hot(labels: np.ndarray, where: str) -> None:
    """Raises UserError for one-hot labels (n, classes)."""
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "buif":
        return
    if np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all():
        raise UserError(
            f"{where} has shape {labels.shape} and is one-hot; it must be whole numbers (n,): "
            "labels.argmax(1)"
        )


def _targets(targets: np.ndarray, where: str) -> np.ndarray:
    if not np.issubdtype(targets.dtype, np.number) or np.iscomplexobj(targets):
        raise UserError(f"{where} is {targets.dtype}; targets are numbers")
    targets = targets.astype(np.float32)
    _check_finite(targets, where)
    return targets


def _check_finite(examples: np.ndarray, where: str) -> None:
    wrong = np.flatnonzero(~np.isfinite(examples.reshape(len(examples), -1)).all(axis=1))
    if len(wrong):
        raise UserError(f"{where} holds NaN or infinity, first in example {wrong[0]}")


def class_names_or_numbers(given: tuple, train_labels: np.ndarray) -> tuple[str, ...]:
    """The given names, or else numbers 0 to the largest training label, as strings.

    Raises:
      UserError: no names are given, and a number below the largest label has no images; or a name is
        given twice.
    """
    if twice := [name for name in given if tuple(given).count(name) > 1]:
        raise UserError(
            f"class_names has {twice[0]!r} twice; classes are told apart by their names"
        )
    if not given:
        present = np.unique(train_labels)
        if len(present) != present[-1] + 1:
            missing = np.setdiff1d(np.arange(min(present[-1], 10**6)), present)[0]
            raise UserError(
                f"the labels go up to {present[-1]}, but no training image has the label {missing}; "
                "number the classes from 0 without a gap, or name them all with class_names"
            )
    return tuple(map(str, given)) or tuple(map(str, range(int(train_labels.max()) + 1)))


def existing_directory(setting: str, path: str) -> Path:
    """The path of a setting, if it is a directory; else raises UserError."""
    if not path or not Path(path).is_dir():
        raise UserError(f"{setting}={path!r}: there is no such directory")
    return Path(path)
