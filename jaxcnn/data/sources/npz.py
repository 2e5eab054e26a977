"""Arrays in an .npz file."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from jaxcnn.data.sources.npy import names_of, read_arrays
from jaxcnn.data.split import Source, class_names_or_numbers, split_from_arrays
from jaxcnn.errors import UserError
from jaxcnn.limits import PATH

_SPELLINGS = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
# The split and part ('images', 'labels' or 'targets') of each key.
_MEANINGS = {
    key: (split, part)
    for split, spellings in _SPELLINGS.items()
    for name in spellings
    for key, part in {
        f"{name}_images": "images",
        f"{name}_labels": "labels",
        f"{name}_targets": "targets",
        f"x_{name}": "images",  # Keras
        f"y_{name}": "labels",
    }.items()
}


def npz(
    resize: int, path: Annotated[str, PATH] = "", class_names: tuple = (), ignore: tuple = ()
) -> Source:
    """An .npz file of arrays: train_images, train_labels, and the same for validation and test.

    Images are (n, height, width) or (n, height, width, channels), uint8, or floats on any scale.
    Labels are whole numbers from 0, (n,) or (n, 1). For regression, train_targets, floats (n,) or
    (n, …), replace train_labels. The names in MedMNIST (val_images, val_labels) and in Keras (x_train,
    y_train) also work.

    Args:
      path: the .npz file.
      class_names: in label order; empty: the numbers.
      ignore: shell patterns of array names to skip. All other names must be as above.

    Raises:
      UserError: no such file, an array with another name, or arrays that are not as described.
    """
    del resize
    keys, remarks = _names(path, tuple(map(str, ignore)))
    by_split = _by_split(path, keys)
    arrays, splits, parts = read_arrays(path, keys), {}, set()
    for split, of_split in by_split.items():
        kinds = [part for part in of_split if part != "images"]
        if len(kinds) != 1 or "images" not in of_split:
            raise UserError(
                f"{path} must have {split}_images and either {split}_labels or {split}_targets; it "
                f"has {', '.join(f'{split}_{part}' for part in of_split)}"
            )
        parts |= set(kinds)
        images, labels = (arrays[of_split[part]] for part in ("images", *kinds))
        splits[split] = split_from_arrays(images, labels, f"{path}: {split}", kinds[0])
    if "train" not in splits:
        raise UserError(
            f"{path} has no 'train_images' (or 'x_train'); it has: {', '.join(keys) or 'nothing'}"
        )
    if len(parts) > 1:
        raise UserError(f"{path} has labels for one split and targets for another; keep one kind")
    if parts == {"targets"}:
        if class_names:
            raise UserError(f"config.data.class_names: {path} has targets, which have no classes")
        return Source(splits, (), remarks)
    names = class_names_or_numbers(class_names, splits["train"].labels)
    return Source(splits, names, remarks)


def _names(path: str, ignore: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """The names of a file's arrays, without ignored ones; remarks about patterns without a match."""
    if not path or not Path(path).is_file():
        raise UserError(f"config.data.path={path!r}: there is no such file; set it to an .npz file")
    keys = set(names_of(path))
    left_out = {
        pattern: {key for key in keys if key == pattern or fnmatchcase(key, pattern)}
        for pattern in ignore
    }
    unused = [pattern for pattern, matching in left_out.items() if not matching]
    return sorted(keys.difference(*left_out.values())), tuple(
        f"config.data.ignore: nothing in {path} matches {pattern!r}" for pattern in unused
    )


def _by_split(path: str, keys: Sequence[str]) -> dict[str, dict[str, str]]:
    """The names of the arrays by split and part.

    Raises:
      UserError: an array's name is unknown, or two names mean the same.
    """
    unknown = [key for key in keys if key not in _MEANINGS]
    if unknown:
        raise UserError(
            f"{path} has {', '.join(map(repr, unknown))}; valid names are train_images, "
            "train_labels (or train_targets), validation_images …, test_images …, or x_train, "
            f"y_train …; config.data.ignore={unknown} skips these"
        )
    found: dict[str, dict[str, str]] = {}
    for key in keys:
        split, part = _MEANINGS[key]
        of_split = found.setdefault(split, {})
        if part in of_split:
            raise UserError(
                f"{path} has both {of_split[part]!r} and {key!r}; config.data.ignore=[{key!r}] "
                "skips one"
            )
        of_split[part] = key
    order = [split for split in _SPELLINGS if split in found]
    return {split: found[split] for split in order}
