"""A cache of what was found out about data, beside it or in the user's cache directory."""

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxcnn.files import replacing
from jaxcnn.runtime import cache_directory

Found = Mapping[str, np.ndarray]


def cached(
    folder: Path | None,
    name: str,
    depends_on: object,
    find_out: Callable[[], Found],
    holds: Callable[[Found], bool] = lambda found: True,
) -> Found:
    """Arrays that were found out before about the same, or now.

    Args:
      folder: of the data; they are cached in its `.jaxcnn`, or in the user's cache directory where
        that cannot be written or there is no folder.
      name: of the file.
      depends_on: what they depend on; its `repr` tells whether they are still valid.
      holds: is asked about cached arrays; where it says no, they are found out anew.
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
            if str(arrays.pop("key")) == key and holds(arrays):
                return arrays
    arrays = find_out()
    for path in places:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as partial, partial.open("wb") as file:
                np.savez(file, key=key, **arrays)
            break
    return arrays


def stamp(path: Path) -> tuple[int, int]:
    """A file's size and time of change; of what is no file, a loop of links say, zeros."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
