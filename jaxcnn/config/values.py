"""Parses the values of settings, and converts them to the default's type or refuses them."""

import ast
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from jaxcnn.errors import UserError

_LARGEST = 2**63  # integers must fit in int64


def typed(value: Any, default: Any, path: str) -> Any:
    """Converts a value to the type of its setting's default; also NumPy values, paths and ConfigDicts.

    Raises:
      UserError: the value has another type.
    """
    value = plain(value)
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
    """Parses an override's text for a setting with this default; returns other values unchanged."""
    if not isinstance(given, str) or isinstance(default, str):
        return given
    if isinstance(default, bool) and given.lower() in ("true", "false"):
        return given.lower() == "true"
    try:
        return ast.literal_eval(given)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return given


def shown(value: Any) -> str:
    """A value for use in a message: on one line, shortened if long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:60]}…{text[-20:]}"


def plain(value: Any) -> Any:
    """The value as built-in Python types that JSON can represent."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):  # of NumPy or JAX
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, ConfigDict | FrozenConfigDict):
        return value.to_dict()
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {key: plain(part) for key, part in value.items()}
    return value


def _is_finite(number: int | float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer too large for float64
        return False
