"""A setting's value: read from text, brought to its default's type, or refused."""

import ast
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from jaxcnn.errors import UserError

_LARGEST = 2**63  # whole numbers are int64 at most


def typed(value: Any, default: Any, path: str) -> Any:
    """A value as the type of its setting's default; NumPy's numbers, paths and ConfigDicts are welcome.

    Raises:
      UserError: it is of another type.
    """
    value = _plain(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    finite = is_number and _is_finite(value)
    if default is None:
        return value
    if isinstance(default, bool):
        expected, ok = "True or False", isinstance(value, bool)
    elif isinstance(default, int):
        expected = "a whole number"
        ok = finite and abs(value) < _LARGEST and value == int(value)
        value = int(value) if ok else value
    elif isinstance(default, float):
        expected, ok = "a number", finite
        value = float(value) if ok else value
    elif isinstance(default, str):
        expected, ok = "text", isinstance(value, str)
    else:
        expected = "a list"
        ok = isinstance(value, Sequence) and not isinstance(value, str)
        if ok and default and not isinstance(default[0], Mapping):
            value = [typed(item, default[0], f"{path}.{i}") for i, item in enumerate(value)]
        value = type(default)(value) if ok else value
    if not ok:
        raise UserError(f"{path}={shown(value)} has the wrong type; it must be {expected}")
    return value


def parsed(given: Any, default: Any) -> Any:
    """What the text of an override means for a setting with this default; other values are as given."""
    if not isinstance(given, str) or isinstance(default, str):
        return given
    if isinstance(default, bool) and given.lower() in ("true", "false"):
        return given.lower() == "true"
    try:
        return ast.literal_eval(given)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return given


def shown(value: Any) -> str:
    """A value in a message: on one line, and not too long for one."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:60]}…{text[-20:]}"


def _plain(value: Any) -> Any:
    """The value as Python's own types, which JSON has too."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, ConfigDict | FrozenConfigDict):
        return value.to_dict()
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value


def _is_finite(number: int | float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond float64
        return False
