"""Image files in a folder."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np

from jaxcnn.data.sources.decoding import Decoder
from jaxcnn.data.sources.examining import Found, damage_remarks, image_files
from jaxcnn.data.sources.pixels import MOST_PIXELS, PIXEL_LIMIT
from jaxcnn.data.sources.tree import MEANINGS, Classes, image_tree, image_tree_of_split
from jaxcnn.data.split import Source, Split, existing_directory
from jaxcnn.errors import UserError
from jaxcnn.limits import PATH, UP_TO_1, Limit, one_of
from jaxcnn.tensorflow import tensorflow

GREY_OR_COLOUR = Limit(lambda value: value in (1, 3), "1 or 3")
WHITE = Limit(lambda value: value == 0 or 255 <= value <= 65_535, "0, or from 255 to 65535")


def folder(
    resize: int,
    root: Annotated[str, PATH] = "",
    channels: Annotated[int, GREY_OR_COLOUR] = 3,
    on_error: Annotated[str, one_of(("stop", "skip"))] = "stop",
    central_fraction: Annotated[float, UP_TO_1] = 1.0,
    folders: Annotated[str, one_of(MEANINGS)] = "auto",
    ignore: tuple = (),
    white: Annotated[int, WHITE] = 0,
    max_image_pixels: Annotated[int, PIXEL_LIMIT] = MOST_PIXELS,
) -> Source:
    """A folder of image files: root/SPLIT/CLASS/**, or root/CLASS/** for training images only.

    Args:
      resize: images are scaled to resize × resize pixels; 0: they must all have the same size.
      root: contains `train`, optionally `validation` (or `val`, `valid`) and `test`, each with one
        folder per class; or the class folders themselves. Class folders may have subfolders.
      channels: 3 for colour, 1 for grey; other images are converted.
      on_error: 'stop' at an unreadable image, or 'skip' it.
      central_fraction: side of the central square to show, as a share of the short side, when no
        augmentation crops the image; 0.875 is 224 of 256 pixels.
      folders: what the folders in root are: 'splits', 'classes', or 'auto', which decides by name.
      ignore: shell patterns of file and folder names to skip, or of their paths under root.
      white: the value that becomes 255 in images of more than 8 bits; 0: the format's maximum.
      max_image_pixels: an image whose header declares more cannot be read.

    Reads JPEG, PNG, WebP, BMP, GIF and TIFF, and only the first frame; alpha is dropped. Images are
    turned upright by their EXIF or XMP orientation. Names that start with a dot, and `__MACOSX`, are
    skipped; everything else that is skipped is logged. What is learned about the files is cached.

    Raises:
      UserError: no such folder, no images in it, an unreadable image, images of different sizes, or a
        folder that is neither a split nor a class.
    """
    tensorflow("config.data.source='folder'")
    top = existing_directory("config.data.root", root)
    if central_fraction != 1 and not resize:
        raise UserError(
            f"config.data.central_fraction={central_fraction} is for scaled images; set "
            "config.data.resize"
        )
    decoder = Decoder(resize, channels, central_fraction, white, max_image_pixels)
    paths, remarks = image_tree(top, folders, ignore)
    class_names = tuple(paths["train"])
    hint = None if on_error == "skip" else ", or skip such files with config.data.on_error=skip"
    splits, found = {}, []
    for split, by_class in paths.items():
        splits[split], of_split, said = _read(by_class, class_names, split, decoder, top, hint)
        found.append(of_split)
        remarks += said
    return Source(splits, class_names, (*remarks, *_deep(found, white)))


def split_of_folder(
    top: Path, split: str, decoder: Decoder, as_classes: bool, ignore: Sequence[str], on_error: str
) -> Source:
    """One split of a folder, for evaluation: a source with this split alone.

    Args:
      top, split, as_classes, ignore: as in `image_tree_of_split`.
      on_error: as in `folder`.

    Raises:
      UserError: as in `image_tree_of_split`, or for an unreadable image or images of different sizes.
    """
    tensorflow("evaluating a folder")
    by_class, remarks = image_tree_of_split(top, split, as_classes, ignore)
    class_names = tuple(by_class)
    hint = None if on_error == "skip" else ""
    images, found, said = _read(by_class, class_names, split, decoder, top, hint)
    said += _deep([found], decoder.white)
    return Source({split: images}, class_names, (*remarks, *said))


def _read(
    by_class: Classes,
    class_names: tuple[str, ...],
    split: str,
    decoder: Decoder,
    top: Path,
    hint: str | None,
) -> tuple[Split, Found, list[str]]:
    """Reads a split; returns it, what was found out about its files, and remarks.

    Args:
      hint: how to deal with unreadable images besides removing them; None: they are skipped.
    """
    paths = list(itertools.chain(*by_class.values()))
    numbers = [class_names.index(name) for name in by_class]
    labels = np.repeat(np.array(numbers, np.int32), list(map(len, by_class.values())))
    found = image_files(paths, decoder, top, split)
    remarks, unreadable = [], found.unreadable
    if unreadable and hint is not None:
        more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
        raise UserError(f"{unreadable[0]}{more}; remove it{hint}")
    if unreadable:
        remarks.append(
            f"skipped {len(unreadable)} unreadable of {len(paths)} {split} images: "
            f"{'; '.join(unreadable)}"
        )
    remarks += damage_remarks(found.damaged, len(found.images), split)
    return Split(found.images, labels[found.readable]), found, remarks


def _deep(found: Sequence[Found], white: int) -> list[str]:
    """A line about the images of more than 8 bits, if there are any."""
    bits = np.concatenate([of_split.bits for of_split in found])
    largest = np.concatenate([of_split.largest for of_split in found])[bits > 8]
    if not len(largest):
        return []
    top, white = int(largest.max()), white or 2 ** int(bits.max()) - 1
    said = (
        f"images of more than 8 bits per channel are reduced to 8 bits ({white} becomes 255): "
        f"{len(largest):,}; largest value: {top}"
    )
    if top > white:
        said += f"; {(largest > white).sum():,} exceed config.data.white and are clipped"
    elif 2 * top < white:
        fitting = max(255, 2 ** top.bit_length() - 1)
        said += f"; config.data.white={fitting} uses the whole range"
    return [said]
