"""How good an arm is for its cost: best of k trials, time to target, performance profiles.

A value that is not finite is a trial that diverged: it is worse than every other.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jaxcnn.compare.statistics import vector, with_worst

LARGEST_RATIO = 4.0  # of AlgoPerf: a competitor that needs more than 4 times the best has failed


class BestOfK(NamedTuple):
    """The best value that k of the n trials of a random search give; element k−1 belongs to k."""

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
    """The profiles of all competitors. Name them all with every profile: the ratios depend on who
    competes, and leaving one out can turn the order of the others (Gould and Scott 2016, "A note on
    performance profiles for benchmarking software")."""

    competitors: tuple[str, ...]
    workloads: tuple[str, ...]
    profiles: dict[str, Profile]


def expected_best_of_k(
    values: ArrayLike, higher_is_better: bool, worst: float | None = None, band: float = 0.5
) -> BestOfK:
    """The best value to expect of a random search with k trials, for k = 1 … n.

    Sorted from worst to best, value i is the best of C(i−1, k−1) of the C(n, k) choices of k
    trials, so the mean over all choices is Σ v₍ᵢ₎·C(i−1, k−1)/C(n, k). It is unbiased (Tang et al.
    2020, "Showing your work doesn't always work"; the estimate of Dodge et al. 2019, "Show your
    work", draws with replacement and is too pessimistic). Element 1 is the mean, element n the best
    value. It holds for independent trials (random, Halton and Sobol points); for TPE and successive
    halving, whose later trials depend on the earlier ones, use `best_so_far`.

    The band holds the central `band` of the bests of all choices: by default it goes from the first
    quartile to the third. It ends at k = n/2: further on, the choices are so alike that it would
    shrink to nothing at k = n, whatever the spread.

    A diverged trial is the worst result. With m of them, k ≤ m trials may all have diverged, so the
    expectation is −∞ (∞ where lower is better) up to k = m, and finite after; an end of the band
    is infinite while such choices reach it. With `worst` they count as that value.

    Args:
      values: the final values of the trials, in any order; shape (n,).
      worst: the value of a diverged trial, such as the accuracy of guessing.
      band: the share of the choices in the band, between 0 and 1.

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
        if k > 1:  # C(i−1, k−1) / C(n, k), from that of k − 1
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
    """The best value among the first k trials, for k = 1 … n.

    For searches whose trials are not exchangeable (TPE, successive halving); it is one draw of the
    search, without a band. Where only diverged trials have come so far, it is −∞ (∞ where lower is
    better), or `worst`.

    Args:
      values: the final values of the trials, in their order; shape (n,).

    Returns:
      float64, shape (n,).

    Raises:
      ValueError: there is no value, or `worst` is not finite.
    """
    values, _ = _with_diverged(values, higher_is_better, worst)
    return (np.maximum if higher_is_better else np.minimum).accumulate(values)


def interquartile_mean(values: ArrayLike) -> float:
    """The mean of the middle half of the values: the lowest and highest quarters are left out.

    For scores over tasks (Agarwal et al. 2021, "Deep reinforcement learning at the edge of the
    statistical precipice"): less driven by single tasks than the mean, and it uses more of the
    values than the median. As there, ⌊n/4⌋ values are left out at each end, so that with fewer than
    four it is the mean.

    Args:
      values: scores on one scale, of any shape: tasks, or tasks × seeds.

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
    """The step of the first evaluation that reaches the target (Dahl et al. 2023, "Benchmarking
    neural network training algorithms", AlgoPerf).

    A value equal to the target reaches it, one that is not finite never does. The answer is at most
    one evaluation interval too late.

    Args:
      steps: of the evaluations; shape (n,).
      values: of the metric; shape (n,).
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
    """The performance profile of each competitor, over all workloads.

    ρ(τ) is the share of workloads on which a competitor needs at most τ times as long as the best
    one (Dolan and Moré 2002, "Benchmarking optimization software with performance profiles"). As in
    AlgoPerf (Dahl et al. 2023), τ goes from 1 to 4 and a ratio beyond 4 is ∞. All workloads are in
    the denominator, also those on which every competitor misses the target: there every ratio is
    ∞. Competitors that tie for the best all have the ratio 1.

    Args:
      times: for each competitor its time to target on each workload, in steps or seconds; ∞ for a
        miss. All have the same workloads.

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
        raise ValueError("a time to target is more than 0, and ∞ for a miss")
    best = np.min(table, axis=0)
    ratios = np.full_like(table, math.inf)
    np.divide(table, best, out=ratios, where=np.isfinite(table))
    ratios[ratios > LARGEST_RATIO] = math.inf
    profiles = dict(zip(competitors, map(_profile, ratios), strict=True))
    return Profiles(competitors, workloads, profiles)


def profile_score(ratios: ArrayLike) -> float:
    """∫₁⁴ ρ(τ) dτ / 3, the score of AlgoPerf (Dahl et al. 2023): 1 for who is best everywhere.

    A workload with the ratio r counts in ρ from r on, which adds 4 − r to the integral, and nothing
    beyond 4: so the score is the mean over workloads of max(0, 4 − r)/3.

    Args:
      ratios: shape (workloads,), ≥ 1; ∞ for a miss.

    Raises:
      ValueError: there is no ratio, or one is below 1.
    """
    ratios = vector(ratios)
    if not np.all(ratios >= 1):
        raise ValueError(f"a ratio to the best time is 1 or more: {ratios}")
    return float(np.mean(np.maximum(0, LARGEST_RATIO - ratios)) / (LARGEST_RATIO - 1))


def _profile(ratios: np.ndarray) -> Profile:
    taus = np.unique([1.0, LARGEST_RATIO, *ratios[np.isfinite(ratios)]])
    return Profile(ratios, taus, _share_within(ratios, taus), profile_score(ratios))


def _share_within(ratios: np.ndarray, tau: ArrayLike) -> np.ndarray:
    return np.searchsorted(np.sort(ratios), tau, side="right") / ratios.size


def _with_diverged(
    values: ArrayLike, higher_is_better: bool, worst: float | None
) -> tuple[np.ndarray, int]:
    """The values, those that are not finite replaced by `worst` or the worse infinity; how many."""
    values = vector(values)
    finite = np.isfinite(values)
    if worst is None:
        values = np.where(finite, values, -math.inf if higher_is_better else math.inf)
    else:
        values = with_worst(values, worst)
    return values, int(np.sum(~finite))
