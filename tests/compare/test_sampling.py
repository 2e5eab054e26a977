"""The points that a sampler chooses: the same for the same study and arm, evenly spread, or near the best."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import kstest, qmc

from jaxcnn.compare import Choice, LogUniform, Uniform
from jaxcnn.compare.sampling import TPE_GENERATION, design, propose
from jaxcnn.errors import UserError
from tests.conftest import ROOT

pytestmark = pytest.mark.fast

SPACE = {"rate": LogUniform(1e-4, 1.0), "momentum": Uniform(0.0, 0.99)}
SQUARE = {"a": Uniform(0, 1), "b": Uniform(0, 1)}
SAMPLERS = ("halton", "sobol", "random")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_longer_search_begins_with_the_shorter_one(sampler):
    longer = design(sampler, SPACE, 64, 0, "adam")
    assert len(longer) == 64
    for count in (1, 2, 3, 13, 16, 32, 63):
        assert design(sampler, SPACE, count, 0, "adam") == longer[:count]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_study_and_arm_has_its_own_points(sampler):
    found = [design(sampler, SPACE, 16, *who) for who in ((0, "adam"), (1, "adam"), (0, "sgd"))]
    rates = [point["rate"] for points in found for point in points]
    assert len(set(rates)) == 48


def test_the_points_are_the_same_in_every_process():
    """Python's own hash of an arm's name is not."""
    code = (
        "from tests.compare.test_sampling import SPACE, SAMPLERS, design;"
        "print([design(s, SPACE, 5, 3, 'arm') for s in SAMPLERS])"
    )
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert output.stdout.strip() == str([design(s, SPACE, 5, 3, "arm") for s in SAMPLERS])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_ranges_are_filled_evenly_one_of_them_in_logarithms(sampler):
    points = design(sampler, SPACE, 512, 0, "arm")
    exponents = [(math.log10(point["rate"]) + 4) / 4 for point in points]
    momenta = [point["momentum"] / 0.99 for point in points]
    for positions in (exponents, momenta):
        assert kstest(positions, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(exponents, momenta)[0, 1]) < 0.1


@pytest.mark.parametrize("sampler", ["halton", "sobol"])
def test_quasi_random_points_fill_the_space_more_evenly(sampler):
    def discrepancy(sampler, seed):
        points = design(sampler, SQUARE, 64, seed, "arm")
        return qmc.discrepancy([[point["a"], point["b"]] for point in points])

    worst = max(discrepancy(sampler, seed) for seed in range(5))
    assert worst < min(discrepancy("random", seed) for seed in range(5)) / 2


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_list_has_each_of_its_values(sampler):
    points = design(sampler, {"kind": Choice((8, 16, 32))}, 30, 0, "arm")
    counts = [sum(point["kind"] == value for point in points) for value in (8, 16, 32)]
    assert min(counts) >= (4 if sampler == "random" else 9)


def test_a_grid_is_all_combinations_in_order():
    space = {"a": LogUniform(1e-2, 1, points=3), "b": Choice(("x", "y")), "c": Choice((1,))}
    expected = [{"a": a, "b": b, "c": 1} for a in (0.01, 0.1, 1) for b in ("x", "y")]
    assert design("grid", space, 0, 0, "arm") == expected
    assert design("grid", space, 99, 7, "other") == expected
    with pytest.raises(UserError, match="a grid search needs points=2 or more"):
        design("grid", SPACE, 16, 0, "arm")


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


def test_tpe_breaks_ties_by_the_later_numbers_and_reads_only_the_order():
    pytest.importorskip("optuna")
    points = design("random", SPACE, 24, 0, "arm")
    tied = [(1.0, distance(point)) for point in points]
    other_scale = [(0, 1000 * distance(point)) for point in points]
    proposed = propose(SPACE, points, tied, 0, "arm")
    assert proposed == propose(SPACE, points, other_scale, 0, "arm")
    assert proposed != propose(SPACE, points, [(1.0, 0.0)] * 24, 0, "arm")


def distance(point):
    """From the best rate, 0.01, in powers of ten."""
    return abs(math.log10(point["rate"]) + 2)
