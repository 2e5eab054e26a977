"""A cache for arrays that are slow to compute, in the user's cache directory."""

import contextlib
import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxcnn.files import replacing
from jaxcnn.runtime import cache_directory

Arrays = Mapping[str, np.ndarray]


def cached(
    name: str,
    depends_on: object,
    compute: Callable[[], Arrays],
    is_valid: Callable[[Arrays], bool] = lambda arrays: True,
) -> Arrays:
    """The arrays from the cache, or else from `compute`.

    The cache file is in `cache_directory()`/data, and named after `name` and a digest of `depends_on`.
    Nothing is written next to the data, which other programs read too.

    Args:
      name: prefix of the file's name.
      depends_on: everything the arrays depend on; compared by its `repr`.
      is_valid: if it returns False for the cached arrays, they are computed again.
    """
    digest = hashlib.blake2b(repr((name, depends_on)).encode(), digest_size=16).hexdigest()
    path = cache_directory() / "data" / f"{name}-{digest}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        arrays = dict(np.load(path, allow_pickle=False))
        if is_valid(arrays):
            return arrays
    arrays = compute()
    with contextlib.suppress(OSError):  # without the cache it only takes longer
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
    return arrays


def stamp(path: Path) -> tuple[int, int]:
    """A file's size in bytes and modification time in ns; zeros if the file is missing."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
