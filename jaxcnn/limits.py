"""The values that a setting may have, stated in its annotation: `Annotated[float, FRACTION]`.

The registry reads them from a constructor's signature, like the type and the default.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from jaxcnn.errors import UserError, closest


class Limit(NamedTuple):
    """Whether a value is allowed, and which are, in words that follow 'must be'.

    `names` are the values, where they are names: a message suggests the closest.
    """

    allows: Callable[[Any], bool]
    words: str
    names: tuple[str, ...] = ()


def check(setting: str, value: Any, limit: Limit) -> None:
    """Raises UserError, with the setting, its value and what is valid, if the value is not allowed."""
    try:
        allowed = limit.allows(value)
    except TypeError:  # a value of another type
        allowed = False
    if not allowed:
        near = closest(value, limit.names) if isinstance(value, str) else None
        hint = f"; did you mean '{near}'?" if near else ""
        raise UserError(f"{setting}={value!r} must be {limit.words}{hint}")


def each(limit: Limit) -> Limit:
    """The limit of every entry of a list."""
    return Limit(lambda values: all(map(limit.allows, values)), limit.words)


def one_of(names: Iterable[str]) -> Limit:
    """One of these names."""
    names = tuple(names)
    return Limit(lambda value: value in names, f"one of {', '.join(map(repr, names))}", names)


def between(low: float, high: float) -> Limit:
    """A number in [low, high]."""
    return Limit(lambda value: low <= value <= high, f"at least {low:g} and at most {high:g}")


def ascending(above: float, up_to: float | None = None) -> Limit:
    """Two numbers in order, more than `above` and at most `up_to`."""
    upper = "" if up_to is None else f" and at most {up_to:g}"

    def allows(pair) -> bool:
        low, high = pair if len(pair) == 2 else (above, above)
        return above < low <= high and (up_to is None or high <= up_to)

    return Limit(allows, f"two numbers in order, more than {above:g}{upper}")


ANY = Limit(lambda value: True, "a number")
AT_LEAST_1 = Limit(lambda value: value >= 1, "at least 1")
AT_LEAST_0 = Limit(lambda value: value >= 0, "at least 0")
POSITIVE = Limit(lambda value: value > 0, "more than 0")
FRACTION = Limit(lambda value: 0 <= value < 1, "at least 0 and less than 1")
INNER_FRACTION = Limit(lambda value: 0 < value < 1, "more than 0 and less than 1")
SHARE = Limit(lambda value: 0 <= value <= 1, "at least 0 and at most 1")
UP_TO_1 = Limit(lambda value: 0 < value <= 1, "more than 0 and at most 1")
# The config keeps such a setting as an absolute path, and takes `~` for the home directory.
PATH = Limit(lambda path: "://" not in path, "a path of the file system; a URL is not read")
# A repository of the Hugging Face Hub, and a branch, tag or commit of it.
HUB_ADDRESS = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[^@\s]+))?")
# A path that is kept like any other, or the address of a repository, which is kept as it is.
PATH_OR_HUB = Limit(
    lambda text: "://" not in text or bool(HUB_ADDRESS.fullmatch(text)),
    "a path of the file system, hf://OWNER/REPO or hf://OWNER/REPO@REVISION; no other URL is read",
)
SEED = Limit(lambda value: 0 <= value < 2**32, "at least 0 and less than 2³²")
SEED_OR_AS_THE_RUN = Limit(
    lambda value: -1 <= value < 2**32, "at least 0 and less than 2³², or -1 for the run's seed"
)
TWO_FRACTIONS = Limit(
    lambda values: len(values) == 2 and all(0 <= value < 1 for value in values),
    "two numbers, each at least 0 and less than 1",
)
