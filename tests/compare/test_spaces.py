"""The values that a search may choose, and the points that a sampler chooses of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import qmc

from jaxcnn.compare import Choice, LogUniform, Uniform
from jaxcnn.compare.sampling import TPE_GENERATION, design, propose
from jaxcnn.compare.spaces import space_from_json
from jaxcnn.errors import UserError

pytestmark = pytest.mark.fast

SPACE = {"rate": LogUniform(1e-4, 1.0), "momentum": Uniform(0.0, 0.99)}


def test_positions_have_their_values():
    assert [LogUniform(1e-3, 10).at(x) for x in (0, 0.25, 0.5, 1)] == [0.001, 0.01, 0.1, 10]
    assert [Uniform(-1, 3).at(x) for x in (0, 0.25, 0.5, 1)] == [-1, 0, 1, 3]
    assert [Choice("abc").at(x) for x in (0, 0.33, 0.34, 0.67, 0.999)] == ["a", "a", "b", "c", "c"]


@given(st.floats(1e-6, 1e3), st.floats(1.0001, 1e6), st.floats(0, 1))
def test_rounding_stays_within_the_range(low, factor, position):
    for space in (LogUniform(low, low * factor), Uniform(low, low * factor)):
        assert space.low <= space.at(position) <= space.high


def test_a_grid():
    assert LogUniform(1e-3, 1.0, points=4).grid() == [0.001, 0.01, 0.1, 1.0]
    assert Uniform(0, 1, points=3).grid() == [0, 0.5, 1]
    assert design("grid", {"a": Choice((1, 2)), "b": Choice("xy")}, 0, 0, "arm") == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"},
    ]  # fmt: skip
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
        lambda: Uniform("0", 1), lambda: Choice(()), lambda: Choice(3),
    ],
)  # fmt: skip
def test_ranges_that_are_none(make):
    with pytest.raises(UserError):
        make()


def test_as_json_and_back():
    for space in (*SPACE.values(), Choice((1, "a")), Uniform(0, 1, points=3)):
        assert space_from_json(space.to_json()) == space


@pytest.mark.parametrize("sampler", ["halton", "sobol", "random"])
def test_a_longer_search_begins_with_the_shorter_one(sampler):
    longer = design(sampler, SPACE, 40, 0, "adam")
    assert design(sampler, SPACE, 13, 0, "adam") == longer[:13]
    assert design(sampler, SPACE, 13, 1, "adam") != longer[:13]
    assert design(sampler, SPACE, 13, 0, "sgd") != longer[:13]
    assert len({point["rate"] for point in longer}) == 40
    assert all(1e-4 <= point["rate"] <= 1 and 0 <= point["momentum"] <= 0.99 for point in longer)


def test_quasi_random_points_fill_the_space_more_evenly():
    def discrepancy(sampler):
        points = design(sampler, {"a": Uniform(0, 1), "b": Uniform(0, 1)}, 64, 0, "arm")
        return qmc.discrepancy(np.array([[p["a"], p["b"]] for p in points]))

    assert max(discrepancy("halton"), discrepancy("sobol")) < discrepancy("random") / 3


def cost_of(point):
    """Least at a rate of 0.01; the largest rates diverge."""
    if point["rate"] > 0.3:
        return math.inf
    return abs(math.log10(point["rate"]) + 2) + (point["kind"] == "bad")


def test_tpe_depends_on_the_results_alone_and_finds_the_best():
    pytest.importorskip("optuna")
    space = {"rate": LogUniform(1e-4, 1.0), "kind": Choice(("good", "bad"))}

    def search(count):
        points = []
        while len(points) < count:
            costs = [cost_of(point) for point in points]
            new = propose(space, points, costs, 0, "arm")
            assert new == propose(space, points, costs, 0, "arm")
            assert len(new) == TPE_GENERATION
            points += new
        return points

    points = search(48)
    assert points[:20] == search(20)
    late = np.median([cost_of(point) for point in points[24:]])
    random = np.median([cost_of(point) for point in design("random", space, 200, 0, "arm")])
    assert late < random / 2
