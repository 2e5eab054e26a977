"""The images that a picture is of: files, or some of a split."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcnn.data.spec import DataSpec
from jaxcnn.diagnose.neighbours import pixels_at
from jaxcnn.diagnose.pictures import label_names
from jaxcnn.errors import UserError
from jaxcnn.train.prediction import file_reader
from jaxcnn.train.saved_run import SavedRun


class Images(NamedTuple):
    """Pixels as they are stored (images, height, width, channels), names, and labels, if known."""

    pixels: np.ndarray
    names: list[str]
    labels: np.ndarray | None


def images_of(run: SavedRun, paths: Sequence[str | Path], split: str, count: int) -> Images:
    """The images of files; without any, `count` images of a split, evenly spaced.

    Names are those of the files, or the labels.

    Raises:
      UserError: a file cannot be read, or the data has no such split.
    """
    if paths:
        read = file_reader(run.config.data, run.spec)
        names = [Path(path).name for path in paths]
        return Images(np.stack([read(path) for path in paths]), names, None)
    dataset = run.dataset(split, {})
    last = len(dataset.splits[split]) - 1
    positions = np.linspace(0, last, min(count, last + 1)).round().astype(int)
    labels = np.asarray(dataset.splits[split].labels)[positions]
    return Images(pixels_at(dataset, split, positions), label_names(labels, dataset), labels)


def shown(pixels: np.ndarray, spec: DataSpec) -> np.ndarray:
    """Pixels as they are stored (…, channels), scaled to [0, 1].

    Raises:
      UserError: they are neither grey nor colour.
    """
    if spec.image_shape[-1] not in (1, 3):
        raise UserError(
            f"this run's images have {spec.image_shape[-1]} channels; a picture shows 1 or 3"
        )
    black, white = black_and_white(spec)
    return np.clip((pixels - black) / (white - black), 0, 1)


def black_and_white(spec: DataSpec) -> tuple[float, float]:
    """The darkest and the brightest pixel: 0 and 255; of floats, two deviations about the mean."""
    if spec.pixel_dtype == "uint8":
        return 0.0, 255.0
    return float((spec.mean - 2 * spec.std).min()), float((spec.mean + 2 * spec.std).max())
