"""What each limit allows, and that every number among the settings has one."""

import pytest

from jaxcnn.config import CHOICE_KEYS, LIMITS, default_config
from jaxcnn.errors import UserError
from jaxcnn.limits import AT_LEAST_1, FRACTION, ascending, between, check, each, one_of
from jaxcnn.train.experiment import REGISTRIES

pytestmark = pytest.mark.fast

NAMES = {kind: registry.names() for kind, registry in REGISTRIES.items()}  # before tests add theirs


@pytest.mark.parametrize(
    ("limit", "allowed", "refused", "words"),
    [
        (FRACTION, [0, 0.99], [1, -0.1], "at least 0 and less than 1"),
        (between(0, 180), [0, 180], [-1, 181], "at least 0 and at most 180"),
        (ascending(0.0, 1.0), [(0.1, 0.1), (0.2, 1.0)], [(0.5, 0.2), (0, 1), (0.1, 2), (1,), 3], "two numbers"),
        (each(AT_LEAST_1), [(1, 2), ()], [(1, 0)], "at least 1"),
        (one_of("ab"), ["a"], ["c"], "one of 'a', 'b'"),
    ],
)  # fmt: skip
def test_limits(limit, allowed, refused, words):
    for value in allowed:
        check("config.x", value, limit)
    for value in refused:
        with pytest.raises(UserError, match=f"must be {words}") as error:
            check("config.x", value, limit)
        assert str(error.value).startswith(f"config.x={value!r}")


def is_number(value):
    if isinstance(value, tuple | list):
        return bool(value) and all(map(is_number, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_number_among_the_settings_has_a_limit(kind):
    registry = REGISTRIES[kind]
    without = [
        f"{name}.{setting}"
        for name in NAMES[kind]
        for setting, default in registry.settings(name).items()
        if is_number(default) and setting not in registry.limits(name)
    ]
    assert not without, f"these need a limit, Annotated[float, …], or ANY: {', '.join(without)}"


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_default_is_within_its_limit(kind):
    registry = REGISTRIES[kind]
    for name in NAMES[kind]:
        registry.check(name, registry.settings(name))


def test_every_number_among_the_common_settings_has_a_limit():
    for section, values in default_config().to_dict().items():
        values = values if isinstance(values, dict) else {"": values}
        for setting, value in values.items():
            dotted = f"{section}.{setting}".rstrip(".")
            assert not is_number(value) or dotted in LIMITS
    assert set(CHOICE_KEYS) <= set(REGISTRIES)
