"""A folder of one's own images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np

from jaxcnn.data.sources.decoding import EXTENSIONS, Decoder
from jaxcnn.data.sources.images import image_files
from jaxcnn.data.split import Source, Split, existing_directory
from jaxcnn.errors import UserError, suggestion
from jaxcnn.limits import UP_TO_1, Limit, one_of
from jaxcnn.tensorflow import tensorflow

GREY_OR_COLOUR = Limit(lambda value: value in (1, 3), "1 or 3")


def folder(
    resize: int,
    root: str = "",
    channels: Annotated[int, GREY_OR_COLOUR] = 3,
    on_error: Annotated[str, one_of(("stop", "skip"))] = "stop",
    central_fraction: Annotated[float, UP_TO_1] = 1.0,
) -> Source:
    """A folder of .jpg and .png images: root/SPLIT/CLASS/*, or root/CLASS/*, which is all train.

    Args:
      root: holds `train`, maybe `validation` (or `val`) and `test`, each with one folder per class;
        or the folders of the classes themselves.
      channels: 3 for colour, 1 for grey; images of the other kind are converted.
      on_error: 'stop' at an image that cannot be read, or 'skip' it.
      central_fraction: the square in the centre, in shares of the short side, that an image shows
        where no augmentation has cropped it; 0.875 is 224 of 256 pixels.

    Images are turned as their EXIF data says. What is known of them is cached in root/.jaxcnn.

    Raises:
      UserError: no such folder, no images in it, an unreadable image, or images of several sizes.
    """
    tensorflow("config.data.source='folder'")
    top = existing_directory("config.data.root", root)
    if central_fraction != 1 and not resize:
        raise UserError(
            f"config.data.central_fraction={central_fraction} is for images that are scaled; set "
            "config.data.resize"
        )
    decoder = Decoder(resize, channels, central_fraction)
    paths = {split: _image_paths(root, path) for split, path in _split_folders(root, top).items()}
    class_names = tuple(sorted({path.parent.name for path in paths["train"]}))
    splits, remarks = {}, []
    for split, of_split in paths.items():
        labels = _labels(of_split, class_names)
        images, readable, unreadable = image_files(of_split, decoder, top, split)
        if unreadable and on_error == "stop":
            more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
            raise UserError(
                f"{unreadable[0]}{more}; "
                "remove it, or leave out such files with config.data.on_error=skip"
            )
        splits[split] = Split(images, labels[readable])
        if unreadable:
            remarks.append(
                f"skipped {len(unreadable)} unreadable of {len(of_split)} {split} images: "
                + "; ".join(unreadable)
            )
    return Source(splits, class_names, tuple(remarks))


def _split_folders(root: str, top: Path) -> Mapping[str, Path]:
    """The folders that hold the classes, by split."""
    if not (top / "train").is_dir():
        return {"train": top}
    names = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
    there = [name for name in names if (top / name).is_dir()]
    if {"validation", "val"} <= set(there):
        raise UserError(f"config.data.root={root!r} has both validation/ and val/; leave one")
    return {names[name]: top / name for name in there}


def _image_paths(root: str, folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in EXTENSIONS)
    if not paths:
        raise UserError(
            f"config.data.root={root!r}: no .jpg or .png in {folder}/CLASS/; "
            "expected root/train/CLASS/image.jpg or root/CLASS/image.jpg"
        )
    return paths


def _labels(paths: list[Path], class_names: tuple[str, ...]) -> np.ndarray:
    """The number of each image's class, which is its folder's name."""
    numbers = {name: number for number, name in enumerate(class_names)}
    for path in paths:
        name = path.parent.name
        if name not in numbers:
            raise UserError(
                f"{path.parent}: train has no class '{name}'; {suggestion(name, class_names)}"
            )
    return np.array([numbers[path.parent.name] for path in paths], np.int32)
