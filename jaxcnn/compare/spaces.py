"""Search spaces of a setting: a range or a list, indexed by a number in [0, 1)."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxcnn.config.values import plain, shown
from jaxcnn.errors import UserError

_EDGE = 0.05  # share of the range at either end


@runtime_checkable
class Space(Protocol):
    """The values that a search can choose for a setting."""

    def at(self, position: float) -> Any:
        """Returns the value at a position in [0, 1)."""

    def grid(self) -> list[Any]:
        """Returns the values of a grid search, in order."""

    def ends(self) -> Sequence[Any]:
        """Returns the values to validate; if the setting accepts them, it accepts the whole space."""

    def edge(self, value: Any) -> str | None:
        """Returns 'lower' or 'upper' if the value is within 5% of that end of the range, else None."""

    def to_json(self) -> dict[str, list]:
        """Returns a dictionary from the kind of the space to its arguments."""


@dataclass(frozen=True)
class Uniform:
    """Numbers from `low` to `high`, uniformly distributed; a grid search takes `points` of them."""

    low: float
    high: float
    points: int = 0

    def __post_init__(self):
        for name in ("low", "high", "points"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        if not (is_number(self.low) and is_number(self.high)):
            raise UserError(f"{self}: a range needs two finite numbers")
        if self.low >= self.high:
            raise UserError(f"{self}: the first number must be less than the second")
        if type(self.points) is not int or self.points < 0:
            raise UserError(
                f"{self}: points={shown(self.points)} must be a whole number, 2 or more"
            )

    def at(self, position: float) -> float:
        return self.rounded((1 - position) * self.low + position * self.high)

    def rounded(self, value: float) -> float:
        """Rounds to four digits, within the range, so that reports show exactly what was trained.

        A range that is narrow relative to its ends gets more digits, at least three for its width.
        """
        narrow = math.log10(max(abs(self.low), abs(self.high))) - math.log10(self.high - self.low)
        digits = min(4 + math.floor(max(narrow, 0)), 17)
        return min(max(float(f"{value:.{digits}g}"), self.low), self.high)

    def grid(self) -> list[float]:
        if self.points < 2:
            raise UserError(f"{self}: a grid search needs points=2 or more")
        return [self.at(position) for position in np.linspace(0, 1, self.points)]

    def ends(self) -> tuple[float, float]:
        return self.low, self.high

    def edge(self, value: float) -> str | None:
        position = self._position(value)
        return "lower" if position < _EDGE else "upper" if position > 1 - _EDGE else None

    def to_json(self) -> dict[str, list]:
        return {"uniform": [self.low, self.high, self.points]}

    def _position(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class LogUniform(Uniform):
    """Numbers from `low` > 0 to `high`, uniformly distributed in the logarithm."""

    def __post_init__(self):
        super().__post_init__()
        if self.low <= 0:
            raise UserError(f"{self}: both numbers must be more than 0")

    def at(self, position: float) -> float:
        return self.rounded(self.low ** (1 - position) * self.high**position)

    def to_json(self) -> dict[str, list]:
        return {"log_uniform": [self.low, self.high, self.points]}

    def _position(self, value: float) -> float:
        low, high = math.log(self.low), math.log(self.high)
        return (math.log(value) - low) / (high - low)


@dataclass(frozen=True)
class Choice:
    """One of several values, equally likely."""

    values: tuple[Any, ...]

    def __post_init__(self):
        values = plain(self.values)
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise UserError(f"Choice({shown(values)}): it needs a list of one value or more")
        object.__setattr__(self, "values", tuple(map(plain, values)))

    def at(self, position: float) -> Any:
        return self.values[min(int(position * len(self.values)), len(self.values) - 1)]

    def grid(self) -> list[Any]:
        return list(self.values)

    def ends(self) -> tuple[Any, ...]:
        return self.values

    def edge(self, value: Any) -> None:
        """A list has no edges."""

    def index(self, value: Any) -> int:
        """Returns the index of a value; after a round trip through JSON, a tuple is a list."""
        return [json.dumps(each) for each in self.values].index(json.dumps(value))

    def to_json(self) -> dict[str, list]:
        return {"choice": list(self.values)}


def is_number(value: Any) -> bool:
    """Whether the value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond float64
        return False


_KINDS = {"uniform": Uniform, "log_uniform": LogUniform, "choice": Choice}


def space_from_json(described: Mapping[str, list]) -> Space:
    """Returns the space that `to_json` describes."""
    ((kind, values),) = described.items()
    return Choice(values) if kind == "choice" else _KINDS[kind](*values)
