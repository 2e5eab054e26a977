"""A folder of other images, prepared and labelled as a run's own."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.sources.table import SOURCES
from jaxcnn.data.sources.tree import held_out_folders
from jaxcnn.data.spec import DataSpec
from jaxcnn.data.split import Split
from jaxcnn.errors import UserError, suggestion

log = logging.getLogger(__name__)

_AS_IN_TRAINING = ("on_error", "central_fraction", "white", "folders", "ignore")


def images_of_folder(folder: str | Path, split: str, config: ConfigDict, spec: DataSpec) -> Dataset:
    """A data set of one split: the folder's images, with the run's statistics and class numbers.

    Args:
      folder: as the source `folder` reads it; where it has no splits, all of its images are taken.
      config, spec: of the run.

    Raises:
      UserError: the folder cannot be read, its images are no images of the run's kind, or it has a
        class that the run does not know.
    """
    if spec.targets:
        raise UserError(f"data={folder}: a folder has classes, and the run is a regression")
    if spec.pixel_dtype != "uint8":
        raise UserError(
            f"data={folder}: the run was trained on {spec.pixel_dtype} arrays, and nothing says how "
            "pixels are to be scaled to them"
        )
    height, width, channels = spec.image_shape
    reading = {"root": str(folder), "channels": channels}
    if config.data.source == "folder":
        reading |= {key: config.data[key] for key in _AS_IN_TRAINING}
    # Such as test/ alone, beside which there is nothing to train on.
    if held_out := held_out_folders(Path(folder)):
        if split not in held_out:
            raise UserError(f"split={split!r}: {suggestion(split, held_out)}")
        reading |= {"root": str(held_out[split]), "folders": "classes"}
    source = SOURCES.create("folder", height if height == width else 0, **reading)
    for remark in source.remarks:
        log.warning(remark)
    name = "train" if set(source.splits) == {"train"} else split
    if name not in source.splits:
        raise UserError(f"split={split!r}: {suggestion(split, source.splits)}")
    images, labels = source.splits[name].images, source.splits[name].labels
    if images.shape != spec.image_shape:
        raise UserError(
            f"data={folder}: its images are {_by(images.shape)}, and the run's are "
            f"{_by(spec.image_shape)}"
        )
    numbers = np.array([_number(folder, name, spec) for name in source.class_names], np.int32)
    absent = sorted(set(spec.class_names) - set(source.class_names))
    if absent:
        log.warning(
            "%s has images of %d of the run's %d classes; none of: %s",
            folder, len(source.class_names), len(spec.class_names), ", ".join(absent),
        )  # fmt: skip
    splits = {split: Split(images, numbers[labels])}
    return Dataset(splits, replace(spec, sizes={split: len(labels)}))


def _number(folder: str | Path, name: str, spec: DataSpec) -> int:
    """The run's number of a class of the folder."""
    if name not in spec.class_names:
        raise UserError(
            f"data={folder} has a class '{name}', which the run does not know; "
            f"{suggestion(name, spec.class_names)}"
        )
    return spec.class_names.index(name)


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
