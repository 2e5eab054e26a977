import math

import numpy as np
import pytest

from jaxcnn.compare.statistics import paired_difference
from jaxcnn.compare.verdict import compare_arms, holm

pytestmark = pytest.mark.fast


def by_seed(table):
    """Arms a, b, … from rows of values, with the seeds 1, 2, …."""
    return {chr(ord("a") + i): dict(enumerate(row, start=1)) for i, row in enumerate(table)}


# Holm


def test_holm_by_hand():
    adjusted = holm([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02])
    assert adjusted.dtype == np.float64


def test_holm_of_one_none_and_large_ones():
    assert holm([0.2]) == [0.2]
    assert holm([]).shape == (0,)
    assert holm([0.6, 0.7]).tolist() == [1, 1]


def test_holm_rejects_what_its_steps_reject(rng):
    for p in rng.uniform(0, 0.05, (200, 6)):
        rejected = np.zeros(6, bool)
        for step, place in enumerate(np.argsort(p)):
            if p[place] > 0.05 / (6 - step):
                break
            rejected[place] = True
        np.testing.assert_array_equal(holm(p) <= 0.05, rejected)


@pytest.mark.parametrize("p", [[math.nan], [-0.1], [1.1], [[0.5]]])
def test_holm_takes_p_values(p):
    with pytest.raises(ValueError, match="not p-values"):
        holm(p)


# Verdicts


def test_every_pair_is_compared_over_the_same_seeds():
    arms = {"a": {1: 0.5, 2: 0.7}, "b": {2: 0.6, 1: 0.4}, "c": {1: 0.1, 2: 0.2}}
    verdict = compare_arms(arms, higher_is_better=True, alpha=0.1)
    assert [(pair.first, pair.second) for pair in verdict.pairs] == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    assert verdict.pairs[0].difference == paired_difference([0.5, 0.7], [0.4, 0.6], 0.9)
    assert [pair.p_adjusted for pair in verdict.pairs] == holm(
        [pair.difference.p_t for pair in verdict.pairs]
    ).tolist()
    assert (verdict.alpha, verdict.seeds) == (0.1, (1, 2))
    assert verdict.diverged == {"a": 0, "b": 0, "c": 0}


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_winner_is_better_than_every_other(rng, higher_is_better):
    table = rng.normal(0, 0.01, (4, 5)) + np.array([[0.5], [0.9], [0.5], [0.1]])
    verdict = compare_arms(by_seed(table), higher_is_better)
    assert verdict.winner == ("b" if higher_is_better else "d")
    better = {(pair.first, pair.second): pair.better for pair in verdict.pairs}
    assert better["a", "b"] == ("b" if higher_is_better else "a")
    assert better["a", "c"] is None


def test_two_good_arms_have_no_winner(rng):
    table = rng.normal(0, 0.01, (3, 5)) + np.array([[0.9], [0.9], [0.5]])
    verdict = compare_arms(by_seed(table), True)
    assert [pair.better for pair in verdict.pairs] == [None, "a", "b"]
    assert verdict.winner is None


def test_one_arm_wins_nothing():
    verdict = compare_arms({"a": {1: 0.5, 2: 0.6}}, True)
    assert (verdict.pairs, verdict.winner) == ((), None)


def test_a_diverged_run_is_never_dropped(rng):
    table = rng.normal(0, 0.01, (3, 5)) + np.array([[0.9], [0.5], [0.3]])
    table[2, 3] = math.nan
    verdict = compare_arms(by_seed(table), True)
    assert verdict.diverged == {"a": 0, "b": 0, "c": 1}
    assert [pair.better for pair in verdict.pairs] == ["a", None, None]
    assert [pair.p_adjusted for pair in verdict.pairs][1:] == [1, 1]
    assert verdict.pairs[1].difference.diverged == 1
    assert verdict.winner is None  # the diverged run could have been any


def test_a_diverged_run_can_count_as_the_worst(rng):
    table = rng.normal(0, 0.01, (3, 5)) + np.array([[0.9], [0.5], [0]])
    table[2] = math.nan
    verdict = compare_arms(by_seed(table), True, worst=0.1)
    assert verdict.diverged == {"a": 0, "b": 0, "c": 5}
    assert [pair.better for pair in verdict.pairs] == ["a", "a", "b"]
    assert verdict.winner == "a"
    with pytest.raises(ValueError, match="worst=nan"):
        compare_arms(by_seed(table), True, worst=math.nan)


def test_steps_on_the_grid_of_evaluations_need_it():
    table = np.full((2, 5), 300.0) + np.array([[0], [700]])
    assert compare_arms(by_seed(table), False).winner is None
    assert compare_arms(by_seed(table), False, resolution=100).winner == "a"


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="no arm"):
        compare_arms({}, True)
    with pytest.raises(ValueError, match="one or more values"):
        compare_arms({"a": {}}, True)
    with pytest.raises(ValueError, match=r"b has the seeds \[2, 3\], not \[1, 2\]"):
        compare_arms({"a": {1: 0, 2: 0}, "b": {2: 0, 3: 0}}, True)
    with pytest.raises(ValueError, match="not between 0 and 1"):
        compare_arms({"a": {1: 0}, "b": {1: 0}}, True, alpha=5)


# 1,000 studies of 8 arms with 5 seeds; what a seed does to all arms is three times what is left


def studies(rng, count, seeds=5):
    return (
        0.9 + 0.03 * rng.normal(size=(count, 1, seeds)) + 0.01 * rng.normal(size=(count, 8, seeds))
    )


def test_equal_arms_are_seldom_told_apart(rng):
    verdicts = [compare_arms(by_seed(table), True) for table in studies(rng, 1000)]
    wrong = np.mean([any(pair.better for pair in v.pairs) for v in verdicts])
    uncorrected = np.mean([any(p.difference.p_t <= 0.05 for p in v.pairs) for v in verdicts])
    assert wrong <= 0.065
    assert uncorrected > 0.3  # what Holm is for
    assert not any(v.winner for v in verdicts)


@pytest.mark.parametrize(("seeds", "ahead"), [(5, 12), (10, 5)])
def test_a_planted_winner_is_found_and_named(rng, seeds, ahead):
    """`ahead`: by how many standard deviations of a run it must be better."""
    tables = studies(rng, 200, seeds)
    tables[:, 3] += ahead * 0.01
    found = [compare_arms(by_seed(table), True).winner for table in tables]
    assert set(found) <= {"d", None}
    assert found.count("d") >= 0.97 * len(found)


def test_no_seed_makes_a_small_lead_a_certain_one(rng):
    tables = studies(rng, 200)
    tables[:, 3] += 0.01
    assert sum(compare_arms(by_seed(table), True).winner is not None for table in tables) <= 4
