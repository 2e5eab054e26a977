"""Which files in a folder are images, with their splits and classes, and which are skipped."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from jaxcnn.data.sources.headers import EXTENSIONS
from jaxcnn.data.split import split_named
from jaxcnn.errors import UserError, suggestion

MEANINGS = ("auto", "splits", "classes")
LAYOUTS = "root/train/CLASS/image.jpg or root/CLASS/image.jpg"
_NAMED = 5  # skipped files in a remark
_FOREIGN = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
_AS_CLASSES = "read every folder as a class with config.data.folders=classes"

Classes = Mapping[str, list[Path]]  # the images of each class, in order


def image_tree(
    top: Path, meaning: str, ignore: Sequence[str]
) -> tuple[Mapping[str, Classes], list[str]]:
    """The images in a folder to train on, by split and class, and remarks about what is skipped.

    Args:
      meaning: one of `MEANINGS`, what the folders in `top` are.
      ignore: shell patterns of names, or of paths under `top`, to skip.

    Raises:
      UserError: a folder is neither a split nor a class, or has no images.
    """
    listing = _Listing(top, ignore)
    splits, others = _split_folders(listing, meaning)
    if "train" not in splits:
        present = [folder.name for folder in splits.values()]
        has = f"has {'/ and '.join(present)}/ but no train/" if present else "has no train/"
        ignoring = [_ignoring(present)] if present else []
        raise UserError(f"{top} {has}; {', or '.join([_AS_CLASSES, *ignoring])}")
    if others:
        raise UserError(
            f"{others[0]} is next to {splits['train'].name}/ but is not a split (train, validation, "
            f"test); {_ignoring([others[0].name])}, or {_AS_CLASSES}"
        )
    paths = {split: _classes(listing, where, split) for split, where in splits.items()}
    remarks = listing.remarks()
    for split, classes in paths.items():
        for name in classes.keys() - paths["train"].keys():
            raise UserError(
                f"{splits[split] / name}: train has no class '{name}'; "
                f"{suggestion(name, paths['train'])}"
            )
    for split, classes in paths.items():
        missing = sorted(paths["train"].keys() - classes.keys())
        if missing:
            remarks.append(
                f"{splits[split]} has no folder for {_some(missing, 'class', 'classes')} of train"
            )
    return paths, remarks


def image_tree_of_split(
    top: Path, split: str, as_classes: bool, ignore: Sequence[str]
) -> tuple[Classes, list[str]]:
    """The images of one split in a folder, by class, and remarks about what is skipped.

    A folder without split folders, or with only train/, is read as the split.

    Args:
      as_classes: every folder in `top` is a class, whatever its name.
      ignore: as in `image_tree`.

    Raises:
      UserError: the folder has other splits but not this one, a folder is neither a split nor a class,
        or a folder has no images.
    """
    listing = _Listing(top, ignore, is_configurable=False)
    splits, others = _split_folders(listing, "classes" if as_classes else "auto")
    if others:
        example = next(iter(splits.values()))
        raise UserError(
            f"{others[0]} is next to {example.name}/ but is not a split (train, validation, test); "
            f"move it away, or use a single split with data={example}"
        )
    name = "train" if set(splits) == {"train"} else split
    if name not in splits:
        raise UserError(f"split={split!r}: {top} has no such split; {suggestion(split, splits)}")
    return _classes(listing, splits[name], name), listing.remarks()


def _split_folders(listing: "_Listing", meaning: str) -> tuple[dict[str, Path], list[Path]]:
    """The folder of each split, and the folders next to them that are not splits.

    If the folders are classes, `top` is train.
    """
    top, folders = listing.top, listing.folders(listing.top)
    if not folders:
        raise UserError(f"{top} has no folders in it; expected {LAYOUTS}")
    named = {folder: split_named(folder.name) for folder in folders}
    if meaning == "classes":
        return {"train": top}, []
    if meaning == "auto" and not any(named.values()):
        _refuse_splits_below(listing, folders)
        return {"train": top}, []
    splits: dict[str, Path] = {}
    for folder, split in named.items():
        if split in splits:
            raise UserError(
                f"{top} has both {splits[split].name}/ and {folder.name}/ for the {split} split; "
                f"{listing.fixes('rename one', ignore=folder.name)}"
            )
        if split:
            splits[split] = folder
    return splits, [folder for folder, split in named.items() if not split]


def _refuse_splits_below(listing: "_Listing", classes: Sequence[Path]) -> None:
    """Refuses CLASS/SPLIT/…: all of it would be training images."""
    for folder in classes:
        splits = [path.name for path in listing.folders_of_class(folder) if split_named(path.name)]
        if len(splits) > 1:
            raise UserError(
                f"{folder} holds {'/ and '.join(splits)}/, which are splits; expected {LAYOUTS}"
                + (f", or {_AS_CLASSES}" if listing.is_configurable else "")
            )


def _classes(listing: "_Listing", folder: Path, split: str) -> dict[str, list[Path]]:
    """The images of a split, by class."""
    classes = listing.folders(folder)
    if not classes:
        fixes = f"expected {LAYOUTS}"
        if split != "train":
            fixes = listing.fixes("give it a folder for each class", ignore=folder.name)
        raise UserError(f"{folder} has no class folders, so its images have no labels; {fixes}")
    found = {path.name: sorted(listing.images(path)) for path in classes}
    for name, paths in found.items():
        if not paths:
            where = (folder / name).relative_to(listing.top).as_posix()
            raise UserError(
                f"the class folder {folder / name} has no readable image ({' '.join(EXTENSIONS)}); "
                f"{listing.fixes('fill it', 'remove it', ignore=where)}"
            )
    return found


class _Listing:
    """Lists folders, and records what is skipped.

    Args:
      is_configurable: whether messages may suggest settings.
    """

    def __init__(self, top: Path, ignore: Sequence[str], is_configurable: bool = True):
        self.top, self.is_configurable = top, is_configurable
        self._ignore = tuple(map(str, ignore))
        self._used: set[str] = set()
        self._skipped: set[str] = set()
        self._nested: set[str] = set()

    def folders(self, folder: Path) -> list[Path]:
        """The folders in a folder; skips other files."""
        folders, files = self._entries(folder)
        self._skipped |= set(map(self._name, files))
        return folders

    def folders_of_class(self, folder: Path) -> list[Path]:
        """The folders in a class's folder."""
        return self._entries(folder)[0]

    def images(self, folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
        """The images in a folder and its subfolders; skips links to a folder in `above`."""
        folders, files = self._entries(folder)
        above |= {folder.resolve()}
        for file in files:
            if file.suffix.lower() in EXTENSIONS:
                yield file
            else:
                self._skipped.add(self._name(file))
        for inner in folders:
            if inner.resolve() in above:
                self._skipped.add(self._name(inner))
            else:
                self._nested.add(self._name(inner))
                yield from self.images(inner, above)

    def remarks(self) -> list[str]:
        """Lines about unused patterns and skipped files."""
        unused = [pattern for pattern in self._ignore if pattern not in self._used]
        lines = [
            f"config.data.ignore: nothing in {self.top} matches {pattern!r}"
            for pattern in unused
            if self.is_configurable
        ]
        if self._skipped:
            lines.append(
                f"skipped {_some(sorted(self._skipped), 'file', 'files')} in {self.top}; images are "
                f"{' '.join(EXTENSIONS)} in class folders"
            )
        counts = Counter(name.rpartition("/")[2] for name in self._nested)
        if alike := [n for n in sorted(self._nested) if counts[n.rpartition("/")[2]] > 1]:
            lines.append(
                f"{_some(alike, 'folder', 'folders')} inside class folders of {self.top} count as part "
                "of their class, although several classes have folders of the same name"
            )
        return lines

    def fixes(self, *fixes: str, ignore: str) -> str:
        """What the user can do, for an error message."""
        settings = (_ignoring([ignore]),) if self.is_configurable else ()
        return ", or ".join((*fixes, *settings))

    def _entries(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The folders and the other files in a folder, by name, without ignored ones."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"cannot read the folder {folder}: {error.strerror}") from error
        parts: tuple[list[Path], list[Path]] = [], []
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith(".") or entry.name in _FOREIGN or self._is_ignored(path):
                continue
            # `entry.is_dir` raises for a link to itself; `path.is_dir` returns False.
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


def _ignoring(names: Sequence[str]) -> str:
    return f"skip {'it' if len(names) == 1 else 'them'} with config.data.ignore={list(names)}"


def _some(names: Sequence[str], one: str, many: str) -> str:
    """The count and the first few names: '7 files (a, b, c, d, e, …)'."""
    more = ", …" if len(names) > _NAMED else ""
    listed = ", ".join(names[:_NAMED])
    return f"{len(names):,} {one if len(names) == 1 else many} ({listed}{more})"
