"""Which arms of a comparison can be told apart, and which one is the best."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from jaxcnn.compare.statistics import PairedDifference, paired_difference, vector, with_worst


class Pair(NamedTuple):
    """Two arms of a comparison."""

    first: str
    second: str
    difference: PairedDifference
    p_adjusted: float  # from the paired t-test, Holm-corrected over all pairs
    better: str | None  # the better arm; None if the two cannot be told apart


class Verdict(NamedTuple):
    """All pairs of arms, and the arm that is better than every other, if there is one."""

    pairs: tuple[Pair, ...]  # in the order of the arms
    winner: str | None
    alpha: float
    seeds: tuple  # in the order of the first arm's values
    diverged: dict[str, int]  # number of diverged runs, by arm


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusts p-values for the number of tests, in the order given; float64, shape (m,).

    Rejecting those ≤ α makes any false rejection with probability ≤ α, however the tests depend on
    each other. The i-th smallest of m is the maximum over j ≤ i of (m−j+1)·p₍ⱼ₎, capped at 1 (Holm
    1979, "A simple sequentially rejective multiple test procedure").

    Raises:
      ValueError: a p-value is not between 0 and 1.
    """
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"these are not p-values: {p_values}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return adjusted


def compare_arms(
    arms: Mapping[str, Mapping[int, float]],
    higher_is_better: bool,
    alpha: float = 0.05,
    worst: float | None = None,
    resolution: float = 0.0,
) -> Verdict:
    """Finds the pairs of arms that can be told apart, and the arm that is better than every other.

    Each pair is compared by `paired_difference`, with intervals of confidence 1 − alpha that are not
    corrected for the number of pairs. Two arms can be told apart if the p of their paired t-test,
    after `holm` over all pairs, is ≤ alpha; the sign of the mean difference shows which is better.
    (The sign-flip test could not decide: for five seeds its p is never below 0.0625.) The winner is
    the arm that is better than each of the others, if there is one; a single arm cannot win.

    Args:
      arms: values by seed, for each arm. All arms have the same seeds.
      worst: value of a diverged run, such as chance accuracy. Without it, a pair with a diverged run
        has no test, and its p counts as 1.
      resolution: distance between adjacent values of the measure; see `paired_difference`.

    Raises:
      ValueError: there is no arm or no seed, the arms have different seeds, `alpha` is not between
        0 and 1, or `worst` is not finite.
    """
    if not arms:
        raise ValueError("there is no arm to compare")
    seeds = tuple(next(iter(arms.values())))
    values = {}
    for arm, by_seed in arms.items():
        if set(by_seed) != set(seeds):
            raise ValueError(f"{arm} has the seeds {list(by_seed)}, not {list(seeds)}")
        values[arm] = vector([by_seed[seed] for seed in seeds])
    diverged = {arm: int(np.sum(~np.isfinite(row))) for arm, row in values.items()}
    if worst is not None:
        values = {arm: with_worst(row, worst) for arm, row in values.items()}

    names = list(combinations(values, 2))
    differences = [
        paired_difference(values[first], values[second], 1 - alpha, resolution)
        for first, second in names
    ]
    adjusted = holm([1.0 if d.p_t is None else d.p_t for d in differences])
    pairs = []
    for (first, second), difference, p in zip(names, differences, adjusted, strict=True):
        better = None
        if p <= alpha:
            better = first if (difference.mean > 0) == higher_is_better else second
        pairs.append(Pair(first, second, difference, float(p), better))
    beaten = {arm: sum(pair.better == arm for pair in pairs) for arm in values}
    winners = [arm for arm in values if len(values) > 1 and beaten[arm] == len(values) - 1]
    return Verdict(tuple(pairs), winners[0] if winners else None, alpha, seeds, diverged)
