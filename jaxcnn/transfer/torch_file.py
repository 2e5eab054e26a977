"""Reads torch files with `weights_only=True`, so that no code in them is run.

Besides tensors, checkpoints contain settings and counters: namespaces, paths, NumPy scalars. The
classes below stand in for theirs, so that such a file can be read without creating those objects.
"""

import itertools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.errors import UserError

# No checkpoint's dictionaries come near; one that contains another twice, and so on, doubles each time.
_DEEPEST, _MOST_VALUES = 100, 500_000


def read_torch_file(path: Path) -> Any:
    """Reads what `torch.save` wrote; NumPy arrays stay NumPy arrays.

    Raises:
      UserError: torch is not installed, or the file is damaged, of another kind, or contains objects
        whose code would have to be run.
    """
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path} is a torch file, and torch is not installed: pip install -e '.[torch]'; a "
            ".safetensors file needs no torch"
        ) from None
    _refuse_compression(path)
    places = [(stand_in, name) for name, stand_in in _PLACES.items()]
    try:
        with torch.serialization.safe_globals(places):
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's readers raise many kinds of exception
        raise UserError(f"{path} cannot be read as a torch file: {_reason(error)}") from error
    return _with_arrays(saved, path)


def _refuse_compression(path: Path) -> None:
    """Refuses an archive that unpacks to more than its size: torch compresses none."""
    try:
        if not zipfile.is_zipfile(path):  # written before torch 1.6, or damaged
            return
        with zipfile.ZipFile(path) as file:
            unpacked = sum(record.file_size for record in file.infolist())
    except Exception as error:  # of many types, depending on the damage
        raise UserError(f"{path} cannot be read as a torch file: {error}") from error
    if unpacked > path.stat().st_size:
        raise UserError(
            f"{path} cannot be read as a torch file: it is compressed, and unpacks to {unpacked:,} "
            "bytes"
        )


def _reason(error: Exception) -> str:
    """torch's reason for the error, without its advice to load the file unsafely."""
    text = str(error)
    how = "save the tensors alone, torch.save(model.state_dict(), …), where it was made"
    if blocked := re.search(r"GLOBAL (\S+)", text):
        return f"it holds an object of {blocked[1]}, whose code is not run; {how}"
    if "TorchScript" in text:
        return f"it is a TorchScript archive; {how}"
    return (
        "it is damaged, of another kind, or not written with torch's default pickle protocol "
        f"({type(error).__name__})"
    )


class _Inert:
    """Accepts an object's arguments and state, and discards them."""

    def __init__(self, *_):
        pass

    def __setstate__(self, _):
        pass


class _Dtype(_Inert):
    """Reads only a dtype's name and byte order; NumPy would also trust the file's memory layout."""

    order = "="

    def __init__(self, kind: str, *_):
        self.kind = kind

    def __setstate__(self, state: tuple):
        self.order = state[1].replace("|", "=")

    def dtype(self) -> np.dtype | None:
        is_number = re.fullmatch(r"[fiu][1248]|b1", self.kind)
        return np.dtype(f"{self.order}{self.kind}") if is_number else None


class _Array(_Inert):
    array = None

    def __setstate__(self, state: tuple):
        _version, shape, dtype, by_columns, content = state
        if (kind := dtype.dtype()) is not None:
            numbers = np.frombuffer(content, kind).astype(kind.newbyteorder("="))
            self.array = numbers.reshape(shape, order="F" if by_columns else "C")


def _with_arrays(saved: Any, path: Path) -> Any:
    """The dictionaries with arrays in place of `_Array`.

    Raises:
      UserError: they contain themselves, or others so often that they would not end.
    """
    values = itertools.count()

    def converted(value: Any, depth: int) -> Any:
        if depth > _DEEPEST or next(values) > _MOST_VALUES:
            raise UserError(
                f"{path} cannot be read as a torch file: its dictionaries contain themselves or are "
                "nested too deep"
            )
        if isinstance(value, Mapping):
            return {key: converted(inner, depth + 1) for key, inner in value.items()}
        return value if getattr(value, "array", None) is None else value.array

    return converted(saved, 0)


def _dictionary(*_) -> dict:
    return {}


def _list(*_) -> list:
    return []


_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
_PLACES: dict[str, Any] = {
    **{f"{module}.{name}": _Inert for module in ("pathlib", "pathlib._local") for name in _PATHS},
    "argparse.Namespace": _Inert,
    "types.SimpleNamespace": _Inert,
    "datetime.date": _Inert,
    "datetime.datetime": _Inert,
    "datetime.timedelta": _Inert,
    **{
        f"builtins.{name}": _Inert
        for name in ("list", "dict", "int", "float", "slice", "frozenset")
    },
    "collections.defaultdict": _dictionary,
    "collections.deque": _list,
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Inert,
    **{
        f"numpy.{core}.multiarray.{name}": stand_in
        for core in ("core", "_core")
        for name, stand_in in (("scalar", _Inert), ("_reconstruct", _Array))
    },
}
