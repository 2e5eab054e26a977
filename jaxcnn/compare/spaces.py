"""What a search may choose for a setting: a range or a list, addressed by a number in [0, 1)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jaxcnn.errors import UserError

_EDGE = 0.05  # of the range, at either end


class Space(Protocol):
    """The values that a search may give a setting."""

    def at(self, position: float) -> Any:
        """The value at a position in [0, 1)."""

    def grid(self) -> list[Any]:
        """The values of a grid search, in order."""

    def ends(self) -> Sequence[Any]:
        """The values that the setting's limits must allow, so that they allow all."""

    def edge(self, value: Any) -> str | None:
        """'lower' or 'upper' if a value is within 5% of an end of the range, else None."""

    def to_json(self) -> dict[str, list]:
        """The space by the name of its kind."""


@dataclass(frozen=True)
class Uniform:
    """Numbers from `low` to `high`, evenly spread; `points` of them in a grid search."""

    low: float
    high: float
    points: int = 0

    def __post_init__(self):
        ends = self.low, self.high
        if not all(isinstance(end, int | float) and math.isfinite(end) for end in ends):
            raise UserError(f"{self}: a range has two numbers")
        if self.low >= self.high:
            raise UserError(f"{self}: the first number must be less than the second")

    def at(self, position: float) -> float:
        return self.rounded(self.low + position * (self.high - self.low))

    def rounded(self, value: float) -> float:
        """The value to four digits, within the range: what a report shows is what was trained."""
        return min(max(float(f"{value:.4g}"), self.low), self.high)

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
    """Numbers from `low` > 0 to `high`, evenly spread in their logarithms."""

    def __post_init__(self):
        super().__post_init__()
        if self.low <= 0:
            raise UserError(f"{self}: both numbers must be more than 0")

    def at(self, position: float) -> float:
        return self.rounded(self.low * (self.high / self.low) ** position)

    def to_json(self) -> dict[str, list]:
        return {"log_uniform": [self.low, self.high, self.points]}

    def _position(self, value: float) -> float:
        return math.log(value / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True)
class Choice:
    """One of several values, each as likely."""

    values: tuple[Any, ...]

    def __post_init__(self):
        if not isinstance(self.values, Sequence) or not self.values:
            raise UserError(f"Choice({self.values!r}): it takes a list of one value or more")
        object.__setattr__(self, "values", tuple(self.values))

    def at(self, position: float) -> Any:
        return self.values[min(int(position * len(self.values)), len(self.values) - 1)]

    def grid(self) -> list[Any]:
        return list(self.values)

    def ends(self) -> tuple[Any, ...]:
        return self.values

    def edge(self, value: Any) -> None:
        """A list has no edges."""

    def to_json(self) -> dict[str, list]:
        return {"choice": list(self.values)}


_KINDS = {"uniform": Uniform, "log_uniform": LogUniform, "choice": Choice}


def space_from_json(described: Mapping[str, list]) -> Space:
    """The space that `to_json` described."""
    ((kind, values),) = described.items()
    return Choice(values) if kind == "choice" else _KINDS[kind](*values)
