"""The points of a search: a function of study and arm; a longer search starts with the same points."""

import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import qmc

from jaxcnn.compare.spaces import Choice, Space
from jaxcnn.errors import UserError

Point = dict[str, Any]  # setting → value

TPE_GENERATION = 4  # points proposed at once, when all earlier ones have ended


def design(
    sampler: str, space: Mapping[str, Space], count: int, seed: int, arm: str
) -> list[Point]:
    """Returns the points of a search that does not depend on results.

    Args:
      sampler: 'halton' or 'sobol', scrambled (Owen 1995, 2017); 'random'; 'grid', all combinations.
      seed: seed of the study.

    Returns:
      `count` points; for a grid, all combinations.
    """
    if sampler == "grid":
        values = itertools.product(*(part.grid() for part in space.values()))
        return [dict(zip(space, combination, strict=True)) for combination in values]
    dimensions, rng = len(space), np.random.default_rng(_seeds(seed, arm))
    if sampler == "random":
        positions = rng.random((count, dimensions))
    elif sampler == "halton":
        positions = qmc.Halton(dimensions, rng=rng).random(count)
    else:  # balanced only for powers of two
        positions = qmc.Sobol(dimensions, rng=rng).random_base2(math.ceil(math.log2(count)))[:count]
    return [_at(space, position) for position in positions]


def propose(
    space: Mapping[str, Space],
    points: Sequence[Point],
    costs: Sequence[Any],
    seed: int,
    arm: str,
) -> list[Point]:
    """Returns the next generation of Optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

    It depends only on the earlier points and costs, in order, not on which worker ran them or when.

    Args:
      costs: costs of the points, to be minimised; inf for a diverged run. Only their ranks matter;
        in tuples, later numbers break ties.

    Raises:
      UserError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError("sampler='tpe' needs Optuna: pip install 'jaxcnn[tpe]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    generation = len(points) // TPE_GENERATION
    sampler = optuna.samplers.TPESampler(
        seed=int(np.random.default_rng([*_seeds(seed, arm), generation]).integers(2**31)),
        n_startup_trials=2 * TPE_GENERATION,
        constant_liar=True,
    )
    study = optuna.create_study(sampler=sampler)
    distributions = {key: _distribution(part) for key, part in space.items()}
    order = sorted(set(costs))
    for point, cost in zip(points, costs, strict=True):
        rank = float(order.index(cost))
        params = {key: _to_optuna(space[key], value) for key, value in point.items()}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=rank)
        )
    asked = [study.ask(distributions).params for _ in range(TPE_GENERATION)]
    return [
        {key: _from_optuna(space[key], value) for key, value in point.items()} for point in asked
    ]


def _seeds(seed: int, arm: str) -> list[int]:
    return [seed, zlib.crc32(arm.encode())]


def _at(space: Mapping[str, Space], position: np.ndarray) -> Point:
    return {key: part.at(float(x)) for (key, part), x in zip(space.items(), position, strict=True)}


def _distribution(space: Space):
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(space, Choice):
        return CategoricalDistribution(range(len(space.values)))
    return FloatDistribution(space.low, space.high, log="log_uniform" in space.to_json())


def _to_optuna(space: Space, value: Any) -> Any:
    return space.index(value) if isinstance(space, Choice) else value


def _from_optuna(space: Space, value: Any) -> Any:
    return space.values[value] if isinstance(space, Choice) else space.rounded(value)
