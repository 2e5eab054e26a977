import math

import numpy as np
import pytest
from scipy import stats

from jaxcnn.compare.statistics import mean_interval, paired_difference, smallest_sign_flip_p, vector

pytestmark = pytest.mark.fast


# Means


def test_a_t_interval_is_the_textbooks():
    answer = mean_interval([1, 2, 3, 4, 5])
    reach = 2.776445105 * math.sqrt(2.5 / 5)  # the 97.5% quantile of t with 4 degrees of freedom
    assert (answer.mean, answer.n, answer.diverged, answer.confidence) == (3, 5, 0, 0.95)
    assert answer.method == "t"
    np.testing.assert_allclose([answer.low, answer.high], [3 - reach, 3 + reach], rtol=1e-9)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_a_t_interval_is_scipys(rng, confidence):
    values = rng.normal(size=19)
    answer = mean_interval(values, confidence)
    expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    np.testing.assert_allclose([answer.low, answer.high], expected, rtol=1e-9)


def test_from_20_values_on_it_is_the_bootstrap_always_the_same(rng):
    values = rng.lognormal(size=20)
    answer = mean_interval(values)
    assert answer.method == "bootstrap"
    assert answer.low < answer.mean < answer.high
    assert answer.high - answer.mean > answer.mean - answer.low  # the values are skewed
    assert mean_interval(rng.permutation(values)) == answer
    assert mean_interval(values[:19]).method == "t"


def test_a_bootstrap_interval_of_many_normal_values_is_near_the_t_interval(rng):
    values = rng.normal(size=400)
    answer = mean_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    np.testing.assert_allclose([answer.low, answer.high], expected, atol=0.01)


def test_one_value_has_no_interval():
    assert mean_interval([0.5]) == (0.5, None, None, 1, 0, 0.95, "one value")


@pytest.mark.parametrize("n", [2, 5, 25])
def test_equal_values_have_an_interval_without_width(n):
    value = 0.1
    mean, low, high, *_, method = mean_interval([value] * n)
    assert low == mean == high == pytest.approx(value)
    assert method == "equal"
    assert mean_interval([value + 1e-9] * n + [value]).method == "equal"  # rounding is no spread


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("others", [[], [0.5] * 4, [*range(30)]])
def test_a_diverged_run_leaves_no_mean(bad, others):
    answer = mean_interval([bad, *others, bad])
    assert answer == (None, None, None, len(others) + 2, 2, 0.95, "diverged")


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], 1.0])
def test_values_are_a_row(values):
    with pytest.raises(ValueError, match="one or more values in one dimension"):
        mean_interval(values)


@pytest.mark.parametrize("confidence", [0, 1, 95, math.nan])
def test_a_confidence_is_a_share(confidence):
    with pytest.raises(ValueError, match="not between 0 and 1"):
        mean_interval([1, 2], confidence)
    with pytest.raises(ValueError, match="not between 0 and 1"):
        paired_difference([1, 2], [3, 4], confidence)


def test_values_are_float64():
    assert vector(np.float32([1, 2])).dtype == np.float64


# 95% ± 1.4% are 5.7 standard errors of 8,000 intervals, so that no seed decides about the test.


def test_t_intervals_of_5_seeds_cover_what_they_say(rng):
    studies = rng.normal(0.9, 0.01, (1000, 8, 5))
    answers = [mean_interval(values) for arms in studies for values in arms]
    covered = np.mean([answer.low <= 0.9 <= answer.high for answer in answers])
    assert 0.936 <= covered <= 0.964


def test_paired_intervals_of_5_seeds_cover_what_they_say(rng):
    seeds = rng.normal(0, 0.05, (8000, 1, 5))  # what both arms have in common
    pairs = seeds + rng.normal(0, 0.01, (8000, 2, 5)) + [[0.92], [0.9]]
    answers = [paired_difference(first, second) for first, second in pairs]
    covered = np.mean([answer.low <= 0.02 <= answer.high for answer in answers])
    assert 0.936 <= covered <= 0.964


def test_bootstrap_intervals_of_5_seeds_do_not(rng):
    studies = rng.normal(0.9, 0.01, (4000, 5))
    low, high = stats.bootstrap(
        (studies,), np.mean, axis=1, method="percentile", n_resamples=999, random_state=0
    ).confidence_interval
    assert 0.81 <= np.mean((low <= 0.9) & (high >= 0.9)) <= 0.85


# Paired differences


def test_the_paired_t_test_is_scipys(rng):
    first, second = rng.normal(size=(2, 7))
    answer = paired_difference(first, second, 0.9)
    expected = stats.ttest_rel(first, second)
    assert answer.mean == pytest.approx(np.mean(first) - np.mean(second))
    assert answer.p_t == pytest.approx(expected.pvalue, rel=1e-9)
    assert (answer.low, answer.high) == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert (answer.n, answer.diverged) == (7, 0)


def test_the_sign_flip_test_is_scipys(rng):
    first, second = rng.normal(0.4, 1, 8), np.zeros(8)
    expected = stats.permutation_test((first,), np.mean, permutation_type="samples")
    assert paired_difference(first, second).p_sign_flip == pytest.approx(expected.pvalue)


def test_the_sign_flip_test_by_hand():
    # Of the 8 sums ±1 ±2 ±4, those as far from 0 as 1 + 2 + 4 are 2; as −1 + 2 + 4, 4.
    assert paired_difference([1, 2, 4], [0, 0, 0]).p_sign_flip == 2 / 8
    assert paired_difference([-1, 2, 4], [0, 0, 0]).p_sign_flip == 4 / 8


def test_sums_that_differ_by_rounding_alone_are_ties():
    # 0.1 + 0.2 − 0.3 is not 0 in floating point. Without rounding, all 8 sums are as far from it.
    assert paired_difference([0.1, 0.2, -0.3], [0, 0, 0]).p_sign_flip == 1
    images = np.float32([[351, 349, 345, 352], [350, 348, 346, 351]]) / np.float32(360)
    assert paired_difference(*images).p_sign_flip == 10 / 16


@pytest.mark.parametrize(("n", "p"), [(1, 1), (2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_what_few_seeds_cannot_show(rng, n, p):
    assert smallest_sign_flip_p(n) == p
    assert paired_difference(rng.uniform(1, 2, n), np.zeros(n)).p_sign_flip == p


def test_the_sign_flip_test_is_exact_or_absent(rng):
    assert paired_difference(rng.uniform(1, 2, 20), np.zeros(20)).p_sign_flip == 2 / 2**20
    answer = paired_difference(rng.uniform(1, 2, 21), np.zeros(21))
    assert answer.p_sign_flip is None
    assert answer.p_t < 1e-6


def test_one_pair_shows_nothing():
    assert paired_difference([0.75], [0.5]) == (0.25, None, None, 1, 1, 1, 0)


def test_differences_that_are_all_zero():
    assert paired_difference([0.1, 0.7, 0.3], [0.1, 0.7, 0.3]) == (0, 0, 0, 1, 1, 3, 0)


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_differences_have_the_p_of_the_sign_flips(n, dtype):
    second = np.array([0.1, 0.7, 0.3, 0.9, 0.2], dtype)[:n]
    answer = paired_difference(second + dtype(0.05), second)
    assert answer.low == answer.mean == answer.high == pytest.approx(0.05, rel=1e-5)
    assert answer.p_t == answer.p_sign_flip == smallest_sign_flip_p(n)


def test_the_resolution_is_a_least_deviation():
    first, second = np.array([7.0, 9, 8, 7, 9]), np.array([6.0, 8, 7, 6, 8])
    answer = paired_difference(first, second, resolution=1)
    error = math.sqrt(1 / 6 / 5)  # two roundings with a variance of 1/12 each
    assert answer.p_t == pytest.approx(2 * stats.t.sf(1 / error, 4))
    assert answer.high - 1 == 1 - answer.low == pytest.approx(stats.t.ppf(0.975, 4) * error)
    same = paired_difference(first, first, resolution=1)
    assert (same.mean, same.p_t) == (0, 1)
    assert same.low < 0 < same.high
    spread = [1.0, 20, 5, 3, 2]
    assert paired_difference(spread, second, resolution=1) == paired_difference(spread, second)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("resolution", [0, 1])
def test_coarse_measures_are_not_told_apart_by_chance(rng, n, resolution):
    counts = np.round(900 + rng.uniform(size=(2000, 1, 1)) + rng.normal(0, 0.5, (2000, 2, n)))
    answers = [paired_difference(*pair, resolution=resolution) for pair in counts]
    assert np.mean([answer.p_t <= 0.05 for answer in answers]) <= 0.065
    # With p = 0 for equal differences, 11% of the studies with two seeds would be wrong.


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_pair_with_a_diverged_run_has_no_difference(bad):
    answer = paired_difference([1, bad, bad], [bad, 2, bad])
    assert answer == (None, None, None, None, None, 3, 3)
    assert paired_difference([1, 2, bad], [3, 4, 5]).diverged == 1


def test_what_is_no_pair():
    with pytest.raises(ValueError, match="2 and 3 values are not pairs"):
        paired_difference([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="resolution=-1"):
        paired_difference([1, 2], [1, 2], resolution=-1)
