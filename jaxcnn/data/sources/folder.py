"""A folder of one's own images."""

import numpy as np

from jaxcnn.data.sources.decoding import EXTENSIONS, Decoder, check_central_fraction
from jaxcnn.data.sources.images import image_files
from jaxcnn.data.split import Source, Split, existing_directory
from jaxcnn.errors import UserError, suggestion
from jaxcnn.tensorflow import tensorflow


def folder(
    resize: int,
    root: str = "",
    channels: int = 3,
    on_error: str = "stop",
    central_fraction: float = 1.0,
) -> Source:
    """A folder of .jpg and .png images: root/SPLIT/CLASS/*, or root/CLASS/*, which is all train.

    Args:
      root: holds `train`, maybe `validation` (or `val`) and `test`, each with one folder per class;
        or the folders of the classes themselves.
      channels: 3 for colour, 1 for grey; images of the other kind are converted.
      on_error: 'stop' at an image that cannot be read, or 'skip' it.
      central_fraction: the square in the centre, in shares of the short side, that an image shows
        where no augmentation has cropped it; 0.875 is 224 of 256 pixels.

    Images are turned as their EXIF data says. What is known of them is kept in root/.jaxcnn.

    Raises:
      UserError: no such folder, no images in it, an unreadable image, or images of several sizes.
    """
    tensorflow("--config.data.source=folder")
    top = existing_directory("config.data.root", root)
    if on_error not in ("stop", "skip"):
        raise UserError(f"config.data.on_error={on_error!r}; valid: 'stop', 'skip'")
    check_central_fraction(central_fraction)
    if central_fraction != 1 and not resize:
        raise UserError(
            f"config.data.central_fraction={central_fraction} is for images that are scaled; set "
            "config.data.resize"
        )
    if channels not in (1, 3):
        raise UserError(f"config.data.channels={channels}; valid: 1, 3")
    if (top / "train").is_dir():
        names = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
        split_folders = {top / f: split for f, split in names.items() if (top / f).is_dir()}
        if len(set(split_folders.values())) < len(split_folders):
            raise UserError(f"config.data.root={root!r} has both validation/ and val/; leave one")
    else:
        split_folders = {top: "train"}

    class_names: tuple[str, ...] = ()
    splits, remarks = {}, []
    for split_folder, split in split_folders.items():
        paths = sorted(p for p in split_folder.glob("*/*") if p.suffix.lower() in EXTENSIONS)
        if not paths:
            raise UserError(
                f"config.data.root={root!r}: no .jpg or .png in {split_folder}/CLASS/; "
                "expected root/train/CLASS/image.jpg or root/CLASS/image.jpg"
            )
        classes = [path.parent.name for path in paths]
        class_names = class_names or tuple(sorted(set(classes)))
        numbers = {name: number for number, name in enumerate(class_names)}
        for path, name in zip(paths, classes, strict=True):
            if name not in numbers:
                raise UserError(
                    f"{path.parent}: train has no class '{name}'; {suggestion(name, class_names)}"
                )
        decoder = Decoder(resize, channels, central_fraction)
        images, readable, unreadable = image_files(paths, decoder, top, split)
        if unreadable and on_error == "stop":
            more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
            raise UserError(
                f"{unreadable[0]}{more}; "
                "remove it, or leave out such files with --config.data.on_error=skip"
            )
        labels = np.array([numbers[classes[i]] for i in readable], np.int32)
        splits[split] = Split(images, labels)
        if unreadable:
            remarks.append(
                f"skipped {len(unreadable)} unreadable of {len(paths)} {split} images: "
                + "; ".join(unreadable)
            )
    return Source(splits, class_names, tuple(remarks))
