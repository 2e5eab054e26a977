"""Which files in a folder are images, of which split and which class, and which are left out."""

import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from jaxcnn.data.sources.headers import EXTENSIONS
from jaxcnn.errors import UserError, suggestion

# What the folders of the splits may be called, in any case.
_SPLIT_OF = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
MEANINGS = ("auto", "splits", "classes")
LAYOUTS = "root/train/CLASS/image.jpg or root/CLASS/image.jpg"
_NAMED = 5  # of what is left out, by name

Paths = Mapping[str, Mapping[str, list[Path]]]  # of images, in order, by split and by class


def image_tree(top: Path, meaning: str, ignore: Sequence[str]) -> tuple[Paths, list[str]]:
    """The images in a folder, and lines about what is left out.

    Args:
      meaning: of `MEANINGS`, what the folders in it are.
      ignore: shell patterns of names, or of paths under `top`, that are left out.

    Raises:
      UserError: a folder is neither a split nor a class, or has no images.
    """
    listing = _Listing(top, ignore)
    folders = listing.folders(top)
    if not folders:
        raise UserError(f"config.data.root={str(top)!r} has no folders in it; expected {LAYOUTS}")
    splits = _split_folders(top, folders, meaning)
    paths = {split: _classes(listing, where, split) for split, where in splits.items()}
    for split, classes in paths.items():
        for name in classes.keys() - paths["train"].keys():
            raise UserError(
                f"{splits[split] / name}: train has no class '{name}'; "
                f"{suggestion(name, paths['train'])}"
            )
    remarks = listing.remarks()
    for split, classes in paths.items():
        missing = sorted(paths["train"].keys() - classes.keys())
        if missing:
            remarks.append(
                f"{splits[split]} has no folder for {_some(missing, 'class', 'classes')} of train"
            )
    return paths, remarks


def held_out_folders(top: Path) -> dict[str, Path]:
    """The folders of splits, by split, in a folder that has these and no train/; else {}."""
    folders = [path for path in sorted(top.glob("*/")) if not path.name.startswith(".")]
    found = {_SPLIT_OF.get(path.name.lower(), ""): path for path in folders}
    return {} if {"", "train"} & set(found) else found


def _split_folders(top: Path, folders: list[Path], meaning: str) -> dict[str, Path]:
    """The folders that hold the classes, by split."""
    named = {folder: _SPLIT_OF.get(folder.name.lower()) for folder in folders}
    if meaning == "classes" or (meaning == "auto" and not any(named.values())):
        return {"train": top}
    as_classes = "config.data.folders=classes takes every folder as a class"
    splits: dict[str, Path] = {}
    for folder, split in named.items():
        if split in splits:
            raise UserError(
                f"config.data.root={str(top)!r} has both {splits[split].name}/ and {folder.name}/, "
                f"each of them the {split} split; rename one, or {_leave_out(folder.name)}"
            )
        if split:
            splits[split] = folder
    if "train" not in splits:
        there = [folder.name for folder in splits.values()]
        has = f"has {'/ and '.join(there)}/, but no train/" if there else "has no train/"
        way_on = f", or {_leave_out(*there)}" if there else ""
        raise UserError(f"config.data.root={str(top)!r} {has}; {as_classes}{way_on}")
    for folder, split in named.items():
        if not split:
            raise UserError(
                f"{folder} is beside {splits['train'].name}/, and is no split (train, validation, "
                f"test); {_leave_out(folder.name)}, or {as_classes}"
            )
    return splits


def _classes(listing: "_Listing", folder: Path, split: str) -> dict[str, list[Path]]:
    """The images of a split, by class."""
    classes = listing.folders(folder)
    way_on = f"expected {LAYOUTS}"
    if split != "train":
        way_on = f"give it a folder for each class, or {_leave_out(folder.name)}"
    if not classes:
        raise UserError(f"{folder} has no class folders, and so its images no labels; {way_on}")
    found = {path.name: sorted(listing.images(path)) for path in classes}
    for name, paths in found.items():
        if not paths:
            where = (folder / name).relative_to(listing.top).as_posix()
            raise UserError(
                f"the class folder {folder / name} holds no image of a kind that is read "
                f"({' '.join(EXTENSIONS)}); fill it, remove it, or {_leave_out(where)}"
            )
    return found


class _Listing:
    """Lists folders, and notes what it leaves out."""

    def __init__(self, top: Path, ignore: Sequence[str]):
        self.top, self._ignore = top, tuple(map(str, ignore))
        self._used: set[str] = set()
        self._left_out: set[str] = set()

    def folders(self, folder: Path) -> list[Path]:
        """The folders in a folder; other files are left out."""
        folders, files = self._entries(folder)
        self._left_out |= set(map(self._name, files))
        return folders

    def images(self, folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
        """The images in a folder and in those within; a link to one that it is in is left out."""
        folders, files = self._entries(folder)
        above |= {folder.resolve()}
        for file in files:
            if file.suffix.lower() in EXTENSIONS:
                yield file
            else:
                self._left_out.add(self._name(file))
        for inner in folders:
            if inner.resolve() in above:
                self._left_out.add(self._name(inner))
            else:
                yield from self.images(inner, above)

    def remarks(self) -> list[str]:
        lines = [
            f"config.data.ignore: nothing in {self.top} is called {pattern!r}"
            for pattern in self._ignore
            if pattern not in self._used
        ]
        if self._left_out:
            lines.append(
                f"left out of {self.top} {_some(sorted(self._left_out), 'file', 'files')}; images "
                f"are {' '.join(EXTENSIONS)} in the folders of classes"
            )
        return lines

    def _entries(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The folders and the other files in a folder, by name, but for those to be ignored."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"cannot read the folder {folder}: {error.strerror}") from error
        parts: tuple[list[Path], list[Path]] = [], []
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith(".") or entry.name == "__MACOSX" or self._is_ignored(path):
                continue
            # A link that leads nowhere, or to itself, is no folder.
            is_folder = path.is_dir() if entry.is_symlink() else entry.is_dir()
            parts[not is_folder].append(path)
        return parts

    def _is_ignored(self, path: Path) -> bool:
        names = path.name, self._name(path)
        matching = {
            pattern
            for pattern in self._ignore
            if pattern in names or any(fnmatchcase(name, pattern) for name in names)
        }
        self._used |= matching
        return bool(matching)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.top).as_posix()


def _leave_out(*names: str) -> str:
    return f"config.data.ignore={list(names)} leaves {'it' if len(names) == 1 else 'them'} out"


def _some(names: Sequence[str], one: str, many: str) -> str:
    """How many, and the first few by name: '7 files (a, b, c, d, e, …)'."""
    more = ", …" if len(names) > _NAMED else ""
    listed = ", ".join(names[:_NAMED])
    return f"{len(names):,} {one if len(names) == 1 else many} ({listed}{more})"
