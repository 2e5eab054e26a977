"""Arrays in an .npz file."""

from pathlib import Path

import numpy as np

from jaxcnn.data.split import Source, class_names_or_numbers, split_from_arrays
from jaxcnn.errors import UserError


def npz(resize: int, path: str = "", class_names: tuple = ()) -> Source:
    """An .npz file of arrays: train_images, train_labels, and the same for test and validation.

    Images are (n, height, width) or (n, height, width, channels), uint8, or floats on any scale.
    Labels are whole numbers from 0. Or there are train_targets in place of train_labels, floats (n,) or
    (n, …), for a regression.
    """
    del resize
    if not path or not Path(path).is_file():
        raise UserError(f"config.data.path={path!r}: there is no such file; it takes an .npz file")
    try:
        arrays = np.load(path, allow_pickle=False)
        arrays = {key: arrays[key] for key in arrays.files}
    except Exception as error:
        raise UserError(f"config.data.path={path!r} cannot be read as .npz: {error}") from error
    splits, kind = {}, "targets" if "train_targets" in arrays else "labels"
    for split in ("train", "validation", "test"):
        images, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_{kind}")
        if images is None and labels is None:
            continue
        if images is None or labels is None:
            raise UserError(
                f"{path}: {split}_images and {split}_{kind} go together; one is missing"
            )
        splits[split] = split_from_arrays(images, labels, f"{path}: {split}", kind)
    if "train" not in splits:
        raise UserError(f"{path} has no 'train_images'; it holds: {', '.join(sorted(arrays))}")
    if kind == "targets":
        if class_names:
            raise UserError(f"config.data.class_names: {path} holds targets, which have no classes")
        return Source(splits, ())
    return Source(splits, class_names_or_numbers(class_names, splits["train"].labels))
