"""Reads arrays from an .npz file, a zip of .npy files, once their headers say that they can be read."""

import contextlib
import io
import math
import zipfile
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib import format as npy

from jaxcnn.data.sources.memory import COPIES, check_memory
from jaxcnn.errors import UserError

_LONGEST_HEADER = 10_000  # bytes, as in NumPy; one of a zip bomb can be of gigabytes
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class _Refused(Exception):
    """An array that is not read; the text says why."""


def names_of(path: str) -> list[str]:
    """The names of the arrays in a file.

    Raises:
      UserError: it is not a zip file.
    """
    with _opened(path) as file:
        return [name.removesuffix(".npy") for name in file.namelist()]


def read_arrays(path: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of these names. All headers are checked before any array is read.

    Raises:
      UserError: an array is damaged, not of numbers or text, not of the size that its header declares,
        or larger than the memory.
    """
    with _opened(path) as file:
        members = {name: _member(file, name) for name in names}
        for name, member in members.items():
            with file.open(member) as content:
                _check_header(name, content.read(_LONGEST_HEADER), member.file_size)
        check_memory(path, COPIES * sum(member.file_size for member in members.values()))
        arrays = {}
        for name, member in members.items():
            with file.open(member) as content:
                arrays[name] = npy.read_array(content, allow_pickle=False)
    return arrays


@contextlib.contextmanager
def _opened(path: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as file:
            yield file
    except UserError:
        raise
    except Exception as error:  # of many types
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"config.data.path={path!r} cannot be read as .npz: {reason}") from error


def _member(file: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    stored = f"{name}.npy"
    member = file.getinfo(stored if stored in file.namelist() else name)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile unpacks 4 kB at a time, which is 6 GB of a bzip2 bomb.
        raise _Refused(f"{name} is compressed as NumPy does not; save it with np.savez_compressed")
    return member


def _check_header(name: str, start: bytes, size: int) -> None:
    """Refuses an array that is not of numbers or text, or not of `size` bytes with its header."""
    stream = io.BytesIO(start)
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise _Refused(f"{name} is of .npy version {version}; save it with np.savez")
    shape, _, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise _Refused(f"{name} is an array of objects, which are not unpickled; save numbers")
    if dtype.kind == "V" or not dtype.itemsize:
        raise _Refused(f"{name} is of {dtype}; save numbers, each part in an array of its own")
    if any(length < 0 for length in shape):
        raise _Refused(f"{name} has shape {shape}")
    declared = math.prod(shape) * dtype.itemsize  # Python's integers: NumPy's would overflow
    if declared != size - stream.tell():
        raise _Refused(
            f"{name} has shape {shape} of {dtype}, {declared} bytes, but the file holds "
            f"{size - stream.tell()} bytes of it"
        )
