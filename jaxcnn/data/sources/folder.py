"""A folder of one's own images."""

import itertools
from collections.abc import Mapping
from typing import Annotated

import numpy as np

from jaxcnn.data.sources.decoding import Decoder
from jaxcnn.data.sources.images import Found, image_files
from jaxcnn.data.sources.tree import MEANINGS, image_tree
from jaxcnn.data.split import Source, Split, existing_directory
from jaxcnn.errors import UserError
from jaxcnn.limits import PATH, UP_TO_1, Limit, one_of
from jaxcnn.tensorflow import tensorflow

GREY_OR_COLOUR = Limit(lambda value: value in (1, 3), "1 or 3")
WHITE = Limit(lambda value: value == 0 or 255 <= value <= 65_535, "0, or from 255 to 65535")
_NAMED = 5  # damaged files, by name


def folder(
    resize: int,
    root: Annotated[str, PATH] = "",
    channels: Annotated[int, GREY_OR_COLOUR] = 3,
    on_error: Annotated[str, one_of(("stop", "skip"))] = "stop",
    central_fraction: Annotated[float, UP_TO_1] = 1.0,
    folders: Annotated[str, one_of(MEANINGS)] = "auto",
    ignore: tuple = (),
    white: Annotated[int, WHITE] = 0,
) -> Source:
    """A folder of image files: root/SPLIT/CLASS/**, or root/CLASS/**, which is all train.

    Args:
      root: holds `train`, maybe `validation` (or `val`, `valid`) and `test`, each with one folder per
        class; or the folders of the classes themselves. A class's folder may hold folders.
      channels: 3 for colour, 1 for grey; images of the other kind are converted.
      on_error: 'stop' at an image that cannot be read, or 'skip' it.
      central_fraction: the square in the centre, in shares of the short side, that an image shows
        where no augmentation has cropped it; 0.875 is 224 of 256 pixels.
      folders: what the folders in root are: 'splits', 'classes', or, with 'auto', what their names
        tell.
      ignore: shell patterns of the names of files and folders that are left out, or of their paths
        under root.
      white: of images of more than 8 bits, the value that becomes 255; 0: their format's largest.

    Images are JPEG, PNG, WebP, BMP, GIF and TIFF, of each its first frame; alpha is dropped. They are
    turned as their EXIF data or XMP says. Names that begin with a dot, and `__MACOSX`, are skipped;
    whatever else is left out is told. What is known of the files is cached (`cached`).

    Raises:
      UserError: no such folder, no images in it, an unreadable image, images of several sizes, or a
        folder that is neither a split nor a class.
    """
    tensorflow("config.data.source='folder'")
    top = existing_directory("config.data.root", root)
    if central_fraction != 1 and not resize:
        raise UserError(
            f"config.data.central_fraction={central_fraction} is for images that are scaled; set "
            "config.data.resize"
        )
    decoder = Decoder(resize, channels, central_fraction, white)
    paths, remarks = image_tree(top, folders, ignore)
    class_names = tuple(paths["train"])
    splits, found = {}, {}
    for split, by_class in paths.items():
        of_split = list(itertools.chain(*by_class.values()))
        numbers = [class_names.index(name) for name in by_class]
        labels = np.repeat(np.array(numbers, np.int32), list(map(len, by_class.values())))
        found[split] = image_files(of_split, decoder, top, split)
        remarks += _unreadable(found[split], len(of_split), split, on_error)
        remarks += _damaged(found[split], split)
        splits[split] = Split(found[split].images, labels[found[split].readable])
    return Source(splits, class_names, (*remarks, *_deep(found, white)))


def _unreadable(found: Found, count: int, split: str, on_error: str) -> list[str]:
    lines = found.unreadable
    if lines and on_error == "stop":
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise UserError(
            f"{lines[0]}{more}; remove it, or leave out such files with config.data.on_error=skip"
        )
    said = f"skipped {len(lines)} unreadable of {count} {split} images: {'; '.join(lines)}"
    return [said] if lines else []


def _damaged(found: Found, split: str) -> list[str]:
    lines = found.damaged
    more = "; …" if len(lines) > _NAMED else ""
    said = f"damaged, but decoded, of {len(found.images)} {split} images: {len(lines)}: "
    return [said + "; ".join(lines[:_NAMED]) + more] if lines else []


def _deep(found: Mapping[str, Found], white: int) -> list[str]:
    """A line about the images of more than 8 bits, where there are any."""
    bits = np.concatenate([of_split.bits for of_split in found.values()])
    largest = np.concatenate([of_split.largest for of_split in found.values()])[bits > 8]
    if not len(largest):
        return []
    top, white = int(largest.max()), white or 2 ** int(bits.max()) - 1
    said = (
        f"images of more than 8 bits per channel, reduced to 8 ({white} becomes 255): "
        f"{len(largest):,}; their largest value is {top}"
    )
    if top > white:
        said += f"; with values above config.data.white, cut off: {(largest > white).sum():,}"
    elif 2 * top < white:
        fitting = max(255, 2 ** top.bit_length() - 1)
        said += f"; config.data.white={fitting} would use the whole range"
    return [said]
