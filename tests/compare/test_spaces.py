"""The values that a search may choose."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.compare import Choice, LogUniform, Uniform
from jaxcnn.compare.spaces import space_from_json
from jaxcnn.errors import UserError

pytestmark = pytest.mark.fast


def test_positions_have_their_values():
    assert [LogUniform(1e-3, 10).at(x) for x in (0, 0.25, 0.5, 1)] == [0.001, 0.01, 0.1, 10]
    assert [Uniform(-1, 3).at(x) for x in (0, 0.25, 0.5, 1)] == [-1, 0, 1, 3]
    assert [Choice(["a", "b", "c"]).at(x) for x in (0, 0.33, 0.34, 0.67, 0.999)] == [
        "a",
        "a",
        "b",
        "c",
        "c",
    ]


@given(st.floats(1e-6, 1e3), st.floats(1.0001, 1e6), st.floats(0, 1))
def test_rounding_stays_within_the_range(low, factor, position):
    for space in (LogUniform(low, low * factor), Uniform(low, low * factor)):
        assert space.low <= space.at(position) <= space.high


def test_a_grid():
    assert LogUniform(1e-3, 1.0, points=4).grid() == [0.001, 0.01, 0.1, 1.0]
    assert Uniform(0, 1, points=3).grid() == [0, 0.5, 1]
    with pytest.raises(UserError, match="a grid search needs points=2 or more"):
        Uniform(0, 1).grid()


def test_edges():
    space = LogUniform(1e-4, 1.0)
    assert [space.edge(v) for v in (1.2e-4, 1e-3, 0.1, 0.9)] == ["lower", None, None, "upper"]
    assert Choice((1, 2)).edge(1) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Uniform(1, 1), lambda: Uniform(2, 1), lambda: LogUniform(0, 1),
        lambda: LogUniform(-1, 1), lambda: Uniform(0, math.inf), lambda: Uniform(math.nan, 1),
        lambda: Uniform("0", 1), lambda: Choice(()), lambda: Choice(3), lambda: Choice("abc"), lambda: Uniform(True, 2), lambda: Uniform(0, 10**400),
        lambda: Uniform(0, 1, points=-1), lambda: Uniform(0, 1, points=2.5),
    ],
)  # fmt: skip
def test_ranges_that_are_none(make):
    with pytest.raises(UserError):
        make()


def test_a_narrow_range_has_enough_digits():
    assert Uniform(0.999, 0.9999).at(0.5) == 0.99945
    assert len({Uniform(1, 1 + 1e-9).at(i / 100) for i in range(100)}) == 100
    assert Uniform(1e-308, 1e308).at(0.5) == 5e307
    assert LogUniform(1e-300, 1e300).at(0.5) == 1.0


def test_values_of_numpy_are_numbers():
    assert Uniform(np.float32(0.5), np.int64(2)) == Uniform(0.5, 2)
    assert Choice(np.array([1, 2])) == Choice((1, 2))
    assert json.dumps(Choice([np.int64(3)]).to_json()) == '{"choice": [3]}'


def test_as_json_and_back():
    for space in (LogUniform(1e-4, 1.0), Choice((1, "a")), Uniform(0, 1, points=3)):
        assert space_from_json(space.to_json()) == space
