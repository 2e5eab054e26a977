import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.compare.scoring import (
    best_so_far,
    expected_best_of_k,
    interquartile_mean,
    performance_profiles,
    profile_score,
    steps_to_target,
)

pytestmark = pytest.mark.fast

INF = math.inf


# Best of k


def bests(values, k, best):
    return [best(chosen) for chosen in combinations(values, k)]


@pytest.mark.parametrize(("higher_is_better", "best"), [(True, max), (False, min)])
def test_expected_best_is_the_mean_over_all_choices(rng, higher_is_better, best):
    values = rng.normal(size=9)
    answer = expected_best_of_k(values, higher_is_better)
    expected = [np.mean(bests(values, k, best)) for k in range(1, 10)]
    np.testing.assert_allclose(answer.expected, expected, rtol=1e-12)
    assert answer.expected.dtype == np.float64
    assert answer.diverged == 0


@pytest.mark.parametrize(("higher_is_better", "best"), [(True, max), (False, min)])
@pytest.mark.parametrize("band", [0.5, 0.8])
def test_the_band_has_the_quantiles_of_all_choices(rng, higher_is_better, best, band):
    values = rng.normal(size=9)
    answer = expected_best_of_k(values, higher_is_better, band=band)
    assert answer.low.shape == answer.high.shape == (4,)  # only for k ≤ n/2
    for k in range(1, 5):
        chosen = np.array(bests(values, k, best)) * (1 if higher_is_better else -1)
        ends = np.quantile(chosen, [(1 - band) / 2, (1 + band) / 2], method="inverted_cdf")
        ends = np.sort(ends * (1 if higher_is_better else -1))
        np.testing.assert_array_equal([answer.low[k - 1], answer.high[k - 1]], ends)


def test_expected_best_by_hand():
    answer = expected_best_of_k([3, 1, 2, 2], higher_is_better=True)
    np.testing.assert_allclose(answer.expected, [2, 15 / 6, 11 / 4, 3])
    assert (answer.low.tolist(), answer.high.tolist()) == ([1, 2], [2, 3])


def test_expected_best_is_unbiased(rng):
    """Of n uniform values, the largest is n/(n + 1) on average."""
    answers = [expected_best_of_k(row, True).expected for row in rng.uniform(size=(2000, 8))]
    np.testing.assert_allclose(
        np.mean(answers, axis=0), np.arange(1, 9) / np.arange(2, 10), atol=0.01
    )


def test_expected_best_of_one_and_of_many(rng):
    answer = expected_best_of_k([0.5], True)
    assert (answer.expected.tolist(), answer.low.size, answer.high.size) == ([0.5], 0, 0)
    values = rng.normal(size=2000)
    answer = expected_best_of_k(values, True)
    np.testing.assert_allclose(answer.expected[[0, -1]], [values.mean(), values.max()])
    assert np.all(np.diff(answer.expected) >= -1e-12)
    assert np.all(answer.low <= answer.high)


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("bad", [math.nan, INF, -INF])
def test_diverged_trials_are_the_worst(higher_is_better, bad):
    worst = -INF if higher_is_better else INF
    answer = expected_best_of_k([1, bad, 2, bad, 3], higher_is_better)
    assert answer.diverged == 2
    assert answer.expected[:2].tolist() == [worst, worst]  # two trials may both have diverged
    best = max if higher_is_better else min
    expected = [np.mean(bests([worst, worst, 1, 2, 3], k, best)) for k in (3, 4, 5)]
    np.testing.assert_allclose(answer.expected[2:], expected)
    ends = [answer.low[0], answer.high[0]]
    assert ends == ([-INF, 2] if higher_is_better else [2, INF])


def test_diverged_trials_can_count_as_a_value():
    answer = expected_best_of_k([0.8, math.nan, 0.9], True, worst=0.1)
    np.testing.assert_allclose(answer.expected, [0.6, (0.8 + 0.9 + 0.9) / 3, 0.9])
    assert answer.diverged == 1
    with pytest.raises(ValueError, match="worst=inf"):
        expected_best_of_k([1], True, worst=INF)


def test_only_diverged_trials():
    answer = expected_best_of_k([math.nan] * 4, False)
    assert answer.expected.tolist() == [INF] * 4
    assert answer.low.tolist() == answer.high.tolist() == [INF] * 2


@pytest.mark.parametrize("band", [0, 1, 50])
def test_a_band_is_a_share(band):
    with pytest.raises(ValueError, match="band="):
        expected_best_of_k([1, 2], True, band=band)


def test_best_so_far():
    values = [math.nan, 0.5, 0.4, INF, 0.7]
    assert best_so_far(values, True).tolist() == [-INF, 0.5, 0.5, 0.5, 0.7]
    assert best_so_far(values, False).tolist() == [INF, 0.5, 0.4, 0.4, 0.4]
    assert best_so_far(values, True, worst=0.1).tolist() == [0.1, 0.5, 0.5, 0.5, 0.7]


# Tasks


def test_interquartile_mean():
    assert interquartile_mean([100, 1, 2, 3, 4, 5, 6, -50]) == 3.5
    assert interquartile_mean([1, 2, 6]) == 3
    assert interquartile_mean([[100, 1, 2, 3], [4, 5, 6, -50]]) == 3.5
    with pytest.raises(ValueError, match="diverged"):
        interquartile_mean([1, 2, math.nan])


# Time to target


def test_steps_to_target():
    steps, accuracy = [10, 20, 30, 40], [0.5, math.nan, 0.8, 0.7]
    assert steps_to_target(steps, accuracy, 0.5, True) == 10
    assert steps_to_target(steps, accuracy, 0.8, True) == 30  # equal is enough
    assert steps_to_target(steps, accuracy, 0.81, True) == INF
    assert steps_to_target(steps, [2.0, 1.0, 0.5, 0.4], 0.5, False) == 30


def test_a_target_reached_after_the_budget_is_missed():
    assert steps_to_target([10, 20], [0.1, 0.9], 0.9, True, budget=20) == 20
    assert steps_to_target([10, 20], [0.1, 0.9], 0.9, True, budget=19) == INF


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_values_that_are_not_finite_reach_nothing(higher_is_better):
    bad = [math.nan, INF, -INF]
    assert steps_to_target([1, 2, 3], bad, 0.5, higher_is_better) == INF
    assert steps_to_target([], [], 0.5, higher_is_better) == INF


def test_what_is_no_target():
    with pytest.raises(ValueError, match=r"steps of shape \(2,\)"):
        steps_to_target([1, 2], [1], 0.5, True)
    with pytest.raises(ValueError, match="target=nan"):
        steps_to_target([1], [1], math.nan, True)


# Performance profiles


def profiles(**times):
    names = "uvwxyz"
    return performance_profiles(
        {arm: dict(zip(names, row, strict=False)) for arm, row in times.items()}
    )


def test_profiles_by_hand():
    answer = profiles(a=[10, 30, INF, INF], b=[20, 10, 50, INF], c=[50, 15, 200, INF])
    assert (answer.competitors, answer.workloads) == (("a", "b", "c"), ("u", "v", "w", "x"))
    a, b, c = answer.profiles.values()
    assert a.ratios.tolist() == [1, 3, INF, INF]
    assert b.ratios.tolist() == [2, 1, 1, INF]
    assert c.ratios.tolist() == [INF, 1.5, 4, INF]  # 5 times is beyond 4, 4 times is not
    assert (a.taus.tolist(), a.shares.tolist()) == ([1, 3, 4], [0.25, 0.5, 0.5])
    assert (b.taus.tolist(), b.shares.tolist()) == ([1, 2, 4], [0.5, 0.75, 0.75])
    assert (c.taus.tolist(), c.shares.tolist()) == ([1, 1.5, 4], [0, 0.25, 0.5])
    assert [p.score for p in (a, b, c)] == pytest.approx([(3 + 1) / 12, (2 + 3 + 3) / 12, 2.5 / 12])


def test_a_workload_that_all_miss_counts_for_all():
    answer = profiles(a=[1, INF], b=[1, INF])
    for profile in answer.profiles.values():
        assert profile.ratios.tolist() == [1, INF]
        assert profile.shares.tolist() == [0.5, 0.5]
        assert profile.score == 0.5
    assert profiles(a=[INF], b=[INF]).profiles["a"].score == 0


def test_ties_are_all_the_best():
    answer = profiles(a=[3, 7], b=[3, 7], c=[6, 7])
    assert [p.score for p in answer.profiles.values()] == pytest.approx([1, 1, 5 / 6])


def test_one_competitor_is_the_best_wherever_it_hits():
    (profile,) = profiles(a=[5, 100, INF]).profiles.values()
    assert profile.ratios.tolist() == [1, 1, INF]
    assert profile.score == pytest.approx(2 / 3)


def test_the_competitors_matter():
    """Without c, which wins one workload, a and b change places."""
    times = {"a": [10, 31, 80], "b": [15, 20, 79], "c": [5, INF, 70]}
    with_c = profiles(**times).profiles
    del times["c"]
    without_c = profiles(**times).profiles
    assert with_c["a"].ratios.tolist() != without_c["a"].ratios.tolist()
    gaps = [p["a"].score - p["b"].score for p in (with_c, without_c)]
    assert gaps[0] > 0 > gaps[1]


def test_workloads_are_matched_by_name():
    answer = performance_profiles({"a": {"u": 1, "v": 8}, "b": {"v": 4, "u": 2}})
    assert answer.profiles["b"].ratios.tolist() == [2, 1]


@given(
    st.lists(
        st.one_of(st.floats(1, 6), st.sampled_from([1.0, 2.0, 4.0, INF])), min_size=1, max_size=12
    )
)
def test_the_score_is_the_integral_on_a_fine_grid(times):
    answer = profiles(first=[1.0] * len(times[:6]), second=times[:6])
    tau = 1 + 3 * (np.arange(30_000) + 0.5) / 30_000
    for profile in answer.profiles.values():
        assert profile.score == pytest.approx(np.mean(profile.at(tau)), abs=1e-4)
        steps = np.diff(profile.taus) @ profile.shares[:-1] / 3
        assert profile.score == pytest.approx(steps, abs=1e-12)
        assert profile.score == profile_score(profile.ratios)


def test_what_is_no_profile():
    for nothing in ({}, {"a": {}}):
        with pytest.raises(ValueError, match="a competitor and a workload"):
            performance_profiles(nothing)
    with pytest.raises(ValueError, match=r"b has the workloads \['v'\], not \['u'\]"):
        performance_profiles({"a": {"u": 1}, "b": {"v": 1}})
    for time in (0, -1, math.nan):
        with pytest.raises(ValueError, match="more than 0"):
            performance_profiles({"a": {"u": time}})
    for ratio in (0.5, math.nan):
        with pytest.raises(ValueError, match="1 or more"):
            profile_score([ratio])
