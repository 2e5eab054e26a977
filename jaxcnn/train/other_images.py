"""A folder of other images, prepared and labelled like a run's own data."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.sources.decoding import Decoder
from jaxcnn.data.sources.folder import split_of_folder
from jaxcnn.data.sources.pixels import MOST_PIXELS
from jaxcnn.data.spec import DataSpec
from jaxcnn.data.split import Split, existing_directory
from jaxcnn.errors import UserError, check_choice, suggestion

log = logging.getLogger(__name__)


def images_of_folder(folder: str | Path, split: str, config: ConfigDict, spec: DataSpec) -> Dataset:
    """One split of a folder as a data set, with the run's normalisation and class numbers.

    Args:
      folder: root/SPLIT/CLASS/**, of which only `split` is read, or root/CLASS/**.
      config, spec: those of the run.

    Raises:
      UserError: the folder cannot be read or has no such split, its images do not fit the run, or it
        has a class that the run does not know.
    """
    check_choice("split", split, ("train", "validation", "test"))
    if spec.targets:
        raise UserError(f"data={folder}: a folder has classes, but the run is a regression")
    if spec.pixel_dtype != "uint8":
        raise UserError(
            f"data={folder}: the run was trained on {spec.pixel_dtype} arrays, and their scale for "
            "image files is unknown"
        )
    height, width, channels = spec.image_shape
    data, size = config.data, height if height == width else 0
    source = split_of_folder(
        existing_directory("data", str(folder)),
        split,
        decoder_of_files(data, size, channels),
        data.get("folders") == "classes",
        data.get("ignore", ()) if data.source == "folder" else (),
        data.get("on_error", "stop"),
    )
    for remark in source.remarks:
        log.warning(remark)
    images, labels = source.splits[split].images, source.splits[split].labels
    if images.shape != spec.image_shape:
        raise UserError(
            f"data={folder}: its images are {_by(images.shape)}, but the run's are "
            f"{_by(spec.image_shape)}"
        )
    numbers = np.array([_number(folder, name, spec) for name in source.class_names], np.int32)
    absent = sorted(set(spec.class_names) - set(source.class_names))
    if absent:
        log.warning(
            "%s has images of %d of the run's %d classes; missing: %s",
            folder, len(source.class_names), len(spec.class_names), ", ".join(absent),
        )  # fmt: skip
    splits = {split: Split(images, numbers[labels])}
    return Dataset(splits, replace(spec, sizes={split: len(labels)}))


def decoder_of_files(data: ConfigDict, size: int, channels: int) -> Decoder:
    """The decoder of other files for a run with these settings of its data."""
    return Decoder(
        size,
        channels,
        data.get("central_fraction", 1.0),
        data.get("white", 0),
        data.get("max_image_pixels", MOST_PIXELS),
    )


def _number(folder: str | Path, name: str, spec: DataSpec) -> int:
    """The run's number for a class of the folder."""
    if name not in spec.class_names:
        raise UserError(
            f"data={folder} has a class '{name}', which the run does not know; "
            f"{suggestion(name, spec.class_names)}"
        )
    return spec.class_names.index(name)


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
