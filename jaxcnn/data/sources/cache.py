"""A cache of arrays that took long to compute, in the user's cache directory."""

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
    """The arrays that `compute` gives, from the cache where they are there.

    They are in `cache_directory()`/data, in a file of that name and of a digest of `depends_on`;
    nothing is written beside the data, which other programs read too.

    Args:
      depends_on: what the arrays depend on, by its `repr`.
      is_valid: asked of cached arrays; where it says no, they are computed again.
    """
    digest = hashlib.blake2b(repr((name, depends_on)).encode(), digest_size=16).hexdigest()
    path = cache_directory() / "data" / f"{name}-{digest}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        arrays = dict(np.load(path, allow_pickle=False))
        if is_valid(arrays):
            return arrays
    arrays = compute()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs only time
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
    return arrays


def stamp(path: Path) -> tuple[int, int]:
    """A file's size and its time of change in nanoseconds; zeros where there is no file to ask."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
