"""A cache of arrays that took long to compute, beside the data or in the user's cache directory."""

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxcnn.files import replacing
from jaxcnn.runtime import cache_directory

Arrays = Mapping[str, np.ndarray]


def cached(
    folder: Path | None,
    name: str,
    depends_on: object,
    compute: Callable[[], Arrays],
    is_valid: Callable[[Arrays], bool] = lambda arrays: True,
) -> Arrays:
    """The arrays that `compute` gives, from the cache where they are there.

    Args:
      folder: of the data. The cache is its `.jaxcnn`, or the user's cache directory where that
        cannot be written or there is no folder.
      name: of the file.
      depends_on: what the arrays depend on; where its `repr` differs, they are computed again.
      is_valid: asked of cached arrays; where it says no, they are computed again.
    """
    key = hashlib.blake2b(repr(depends_on).encode(), digest_size=16).hexdigest()
    if folder is None:
        places = [cache_directory() / f"{name}.npz"]
    else:
        of_folder = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=8).hexdigest()
        places = [folder / ".jaxcnn" / f"{name}.npz", cache_directory() / of_folder / f"{name}.npz"]
    for path in places:
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            arrays = dict(np.load(path, allow_pickle=False))
            if str(arrays.pop("key")) == key and is_valid(arrays):
                return arrays
    arrays = compute()
    for path in places:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as partial, partial.open("wb") as file:
                np.savez(file, key=key, **arrays)
            break
    return arrays


def stamp(path: Path) -> tuple[int, int]:
    """A file's size and its time of change in nanoseconds; zeros where there is no file to ask."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
