"""How good an arm is for its cost: best of k trials, time to target, performance profiles.

A value that is not finite means that the trial diverged; it is worse than any other value.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jaxcnn.compare.statistics import vector, with_worst

LARGEST_RATIO = 4.0  # as in AlgoPerf: more than 4 times the best time is a failure


class BestOfK(NamedTuple):
    """The best value of k of the n trials of a random search; element k−1 is for k trials."""

    expected: np.ndarray  # float64, shape (n,)
    low: np.ndarray  # the band's lower end; float64, shape (n // 2,)
    high: np.ndarray  # its upper end
    diverged: int


class Profile(NamedTuple):
    """The performance profile of one competitor.

    ρ(τ) is `shares[i]` from `taus[i]` to just below `taus[i + 1]`; the last of `taus` is 4.
    """

    ratios: np.ndarray  # float64, by workload: time / the best time; ∞ beyond 4 and for a miss
    taus: np.ndarray  # float64, shape (m,), from 1 to 4
    shares: np.ndarray  # float64, shape (m,)
    score: float

    def at(self, tau: ArrayLike) -> np.ndarray:
        """ρ at each τ between 1 and 4: the share of workloads with a ratio ≤ τ."""
        return _share_within(self.ratios, tau)


class Profiles(NamedTuple):
    """The profiles of all competitors. Always name all of them with a profile: the ratios depend on
    the set of competitors, and removing one can reverse the order of the others (Gould and Scott
    2016, "A note on performance profiles for benchmarking software")."""

    competitors: tuple[str, ...]
    workloads: tuple[str, ...]
    profiles: dict[str, Profile]


def expected_best_of_k(
    values: ArrayLike, higher_is_better: bool, worst: float | None = None, band: float = 0.5
) -> BestOfK:
    """Returns the expected best value of a random search with k trials, for k = 1 … n.

    Sorted from worst to best, value i is the best in C(i−1, k−1) of the C(n, k) subsets of k
    trials, so the mean over all subsets is Σ v₍ᵢ₎·C(i−1, k−1)/C(n, k). It is unbiased (Tang et al.
    2020, "Showing your work doesn't always work"; the estimate of Dodge et al. 2019, "Show your
    work", draws with replacement and is too pessimistic). Element 1 is the mean, element n the best
    value. It assumes independent trials (random, Halton and Sobol points). For TPE and successive
    halving, where later trials depend on earlier ones, use `best_so_far`.

    The band contains the central share `band` of the best values of all subsets: by default, the
    first to the third quartile. It ends at k = n/2: beyond that the subsets overlap so much that it
    would shrink to nothing at k = n, whatever the spread.

    A diverged trial is the worst result. With m of them, all of k ≤ m trials may have diverged, so
    the expectation is −∞ (∞ if lower is better) up to k = m and finite beyond it; an end of the band
    is infinite while such subsets reach it. With `worst`, diverged trials count as that value.

    Args:
      values: final values of the trials, in any order; shape (n,).
      worst: value of a diverged trial, such as chance accuracy.
      band: share of the subsets in the band, between 0 and 1.

    Raises:
      ValueError: there is no value, `worst` is not finite, or `band` is not between 0 and 1.
    """
    if not 0 < band < 1:
        raise ValueError(f"band={band} is not between 0 and 1")
    values, diverged = _with_diverged(values, higher_is_better, worst)
    ordered = np.sort(values) if higher_is_better else np.sort(values)[::-1]
    finite, n = np.isfinite(ordered), ordered.size
    expected, ends = np.empty(n), np.empty((n, 2))
    rank, weights = np.arange(1, n + 1), np.full(n, 1 / n)
    for k in rank:
        if k > 1:  # C(i−1, k−1) / C(n, k), from the weight for k − 1
            weights = weights * (np.maximum(rank - k + 1, 0) / (k - 1)) * (k / (n - k + 1))
        sure = finite[k - 1]  # the worst value that can be the best of k
        expected[k - 1] = weights[finite] @ ordered[finite] if sure else ordered[0]
        share = np.cumsum(weights)
        places = np.searchsorted(share, [(1 - band) / 2 - 1e-12, (1 + band) / 2 - 1e-12])
        ends[k - 1] = np.sort(ordered[places])
    low, high = ends[: n // 2].T
    return BestOfK(expected, low, high, diverged)


def best_so_far(
    values: ArrayLike, higher_is_better: bool, worst: float | None = None
) -> np.ndarray:
    """Returns the best value of the first k trials, for k = 1 … n.

    For searches whose trials are not exchangeable (TPE, successive halving). It is a single draw of
    the search, without a band. As long as all trials have diverged, it is −∞ (∞ if lower is better),
    or `worst`.

    Args:
      values: final values of the trials, in order; shape (n,).

    Returns:
      float64, shape (n,).

    Raises:
      ValueError: there is no value, or `worst` is not finite.
    """
    values, _ = _with_diverged(values, higher_is_better, worst)
    return (np.maximum if higher_is_better else np.minimum).accumulate(values)


def interquartile_mean(values: ArrayLike) -> float:
    """Returns the mean of the middle half of the values, without the lowest and highest quarters.

    For scores over tasks (Agarwal et al. 2021, "Deep reinforcement learning at the edge of the
    statistical precipice"): more robust to single tasks than the mean, and it uses more of the
    values than the median. As in the paper, ⌊n/4⌋ values are dropped at each end, so with fewer
    than four values it is the mean.

    Args:
      values: scores on a common scale, of any shape: tasks, or tasks × seeds.

    Raises:
      ValueError: there is no value, or one is not finite: give a diverged run the worst score.
    """
    values = vector(np.ravel(values))
    if not np.all(np.isfinite(values)):
        raise ValueError("a diverged run has no score; give it the worst one")
    return float(stats.trim_mean(values, 0.25))


def steps_to_target(
    steps: ArrayLike,
    values: ArrayLike,
    target: float,
    higher_is_better: bool,
    budget: float = math.inf,
) -> float:
    """Returns the step of the first evaluation that reaches the target (Dahl et al. 2023,
    "Benchmarking neural network training algorithms", AlgoPerf).

    A value equal to the target reaches it; a value that is not finite does not. The result is late by
    at most one evaluation interval.

    Args:
      steps: steps of the evaluations; shape (n,).
      values: values of the metric; shape (n,).
      budget: the last step that counts.

    Returns:
      The step, or ∞ if no evaluation within the budget reaches the target.

    Raises:
      ValueError: `steps` and `values` differ in length, or the target is not finite.
    """
    steps, values = np.asarray(steps, np.float64), np.asarray(values, np.float64)
    if steps.ndim != 1 or steps.shape != values.shape:
        raise ValueError(f"steps of shape {steps.shape}, but values of shape {values.shape}")
    if not math.isfinite(target):
        raise ValueError(f"target={target} is not finite")
    reached = values >= target if higher_is_better else values <= target
    counted = steps[reached & np.isfinite(values) & (steps <= budget)]
    return float(np.min(counted, initial=math.inf))


def performance_profiles(times: Mapping[str, Mapping[str, float]]) -> Profiles:
    """Returns the performance profile of each competitor over all workloads.

    ρ(τ) is the share of workloads on which a competitor needs at most τ times as long as the best
    one (Dolan and Moré 2002, "Benchmarking optimization software with performance profiles"). As in
    AlgoPerf (Dahl et al. 2023), τ goes from 1 to 4 and a ratio above 4 is ∞. All workloads are in
    the denominator, even if every competitor misses the target: then every ratio is ∞. All
    competitors that tie for best have a ratio of 1.

    Args:
      times: time to target of each competitor on each workload, in steps or seconds; ∞ for a miss.
        All competitors have the same workloads.

    Raises:
      ValueError: there is no competitor or no workload, the competitors have different workloads,
        or a time is not positive.
    """
    competitors = tuple(times)
    workloads = tuple(next(iter(times.values()), ()))
    if not workloads:
        raise ValueError("a profile needs a competitor and a workload")
    for name, by_workload in times.items():
        if set(by_workload) != set(workloads):
            raise ValueError(f"{name} has the workloads {list(by_workload)}, not {list(workloads)}")
    table = np.array([[times[c][w] for w in workloads] for c in competitors], np.float64)
    if not np.all(table > 0):  # also for NaN
        raise ValueError("a time to target must be more than 0; ∞ for a miss")
    best = np.min(table, axis=0)
    ratios = np.full_like(table, math.inf)
    np.divide(table, best, out=ratios, where=np.isfinite(table))
    ratios[ratios > LARGEST_RATIO] = math.inf
    profiles = dict(zip(competitors, map(_profile, ratios), strict=True))
    return Profiles(competitors, workloads, profiles)


def profile_score(ratios: ArrayLike) -> float:
    """Returns ∫₁⁴ ρ(τ) dτ / 3, the AlgoPerf score (Dahl et al. 2023): 1 if best on every workload.

    A workload with ratio r counts in ρ from τ = r to 4, which adds 4 − r to the integral, or nothing
    if r > 4. The score is therefore the mean over workloads of max(0, 4 − r)/3.

    Args:
      ratios: shape (workloads,), ≥ 1; ∞ for a miss.

    Raises:
      ValueError: there is no ratio, or one is below 1.
    """
    ratios = vector(ratios)
    if not np.all(ratios >= 1):
        raise ValueError(f"ratios to the best time must be 1 or more: {ratios}")
    return float(np.mean(np.maximum(0, LARGEST_RATIO - ratios)) / (LARGEST_RATIO - 1))


def _profile(ratios: np.ndarray) -> Profile:
    taus = np.unique([1.0, LARGEST_RATIO, *ratios[np.isfinite(ratios)]])
    return Profile(ratios, taus, _share_within(ratios, taus), profile_score(ratios))


def _share_within(ratios: np.ndarray, tau: ArrayLike) -> np.ndarray:
    return np.searchsorted(np.sort(ratios), tau, side="right") / ratios.size


def _with_diverged(
    values: ArrayLike, higher_is_better: bool, worst: float | None
) -> tuple[np.ndarray, int]:
    """Replaces non-finite values by `worst` or the worse infinity; also returns their count."""
    values = vector(values)
    finite = np.isfinite(values)
    if worst is None:
        values = np.where(finite, values, -math.inf if higher_is_better else math.inf)
    else:
        values = with_worst(values, worst)
    return values, int(np.sum(~finite))
