"""What a source of images gives: its splits, checked."""

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
    images on disk, decoded when needed; `labels` is int32 (n,), the numbers of classes, or float32
    (n, …), targets of a regression.
    """

    images: np.ndarray | EncodedImages
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index) -> "Split":
        return Split(self.images[index], self.labels[index])


@dataclass(frozen=True)
class Source:
    """What a source holds: splits named train, validation, test (train always, the others maybe).

    `class_names` is empty where the labels are targets.
    """

    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def split_from_arrays(
    images: np.ndarray, labels: np.ndarray, where: str, kind: str = "labels"
) -> Split:
    """Checks and converts arrays as `npz` describes them.

    Args:
      where: begins an error's line.
      kind: 'labels' or 'targets'.
    """
    if len(images) != len(labels) or len(images) == 0:
        raise UserError(
            f"{where}_images and {where.split()[-1]}_{kind} must be of one length, at least 1; "
            f"they have {len(images)} and {len(labels)}"
        )
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4:
        raise UserError(
            f"{where}_images has shape {images.shape}; "
            "it must be (n, height, width) or (n, height, width, channels)"
        )
    if np.issubdtype(images.dtype, np.floating):
        images = images.astype(np.float32)
        _check_finite(images, f"{where}_images")
    elif images.dtype != np.uint8:
        raise UserError(f"{where}_images is {images.dtype}; images are uint8 (0 … 255) or floats")
    if kind == "targets":
        return Split(images, _targets(labels, f"{where}_targets"))
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{where}_labels is {labels.dtype} {labels.shape}; it must be whole numbers (n,)"
        )
    if labels.min() < 0 or labels.max() > np.iinfo(np.int32).max:
        wrong = labels[(labels < 0) | (labels > np.iinfo(np.int32).max)]
        raise UserError(f"{where}_labels holds {wrong[0]}; labels are whole numbers from 0")
    return Split(images, labels.astype(np.int32))


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
    """The names given, or else as many numbers as the training labels need.

    Raises:
      UserError: no names are given, and some number below the largest label labels no image.
    """
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
    if not path or not Path(path).is_dir():
        raise UserError(f"{setting}={path!r}: there is no such directory")
    return Path(path)
