"""What a check found, in words and numbers."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Finding:
    """The outcome of a check.

    Attributes:
      check: its name.
      outcome: 'passed', 'failed' or 'skipped'.
      verdict: a sentence; of a failed check, it names the cause.
      values: the numbers that decided, in JSON types.
    """

    check: str
    outcome: str
    verdict: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return self.outcome == FAILED

    def to_json(self) -> dict[str, Any]:
        """In JSON types; None for a number that is not finite."""
        return _finite(asdict(self))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def passed(check: str, verdict: str, **values: Any) -> Finding:
    return Finding(check, PASSED, verdict, values)


def failed(check: str, verdict: str, **values: Any) -> Finding:
    return Finding(check, FAILED, verdict, values)


def skipped(check: str, verdict: str, **values: Any) -> Finding:
    return Finding(check, SKIPPED, verdict, values)
