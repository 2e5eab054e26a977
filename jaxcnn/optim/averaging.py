"""Weight averaging over a run, for evaluation and checkpoints."""

import math
from typing import Annotated

import flax.struct
import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jaxcnn.durations import RunLength
from jaxcnn.errors import UserError, check_choice
from jaxcnn.limits import FRACTION
from jaxcnn.optim.schedule import passed, period_ends
from jaxcnn.registry import Registry

AVERAGES = Registry("averaging")

# The batch normalisation statistics used to evaluate the averaged weights.
BATCH_STATS = ("running", "averaged", "reestimated")


class Averaging(flax.struct.PyTreeNode):
    """An average w̄ ← (1 − c)·w̄ + c·w after every update, and the batch statistics used with it.

    Attributes:
      share: number of updates so far (from 1) → c, in [0, 1]; None: w̄ is w.
      batch_stats: 'running', the running statistics of training; 'averaged', their average, with
        the same c; 'reestimated', computed with the averaged weights over an epoch of training
        images before each evaluation (Izmailov et al. 2018).
    """

    share: Partial | None = None
    batch_stats: str = flax.struct.field(pytree_node=False, default="running")

    def update(self, average, current, step: jax.Array):
        """The average after update number `step`.

        A leaf that does not change stays bit-identical.

        Args:
          average, current: w̄ and w, of the same tree structure.
          step: int32 scalar, from 1.
        """
        share = self.share(step)
        return jax.tree.map(
            lambda mean, new: mean + jnp.asarray(share, mean.dtype) * (new - mean), average, current
        )


def none(run: RunLength, batch_stats: str = "running") -> Averaging:
    """No averaging: the current weights are evaluated."""
    del run
    return Averaging(None, batch_stats)


def ema(
    run: RunLength,
    decay: Annotated[float, FRACTION] = 0.999,
    warmup: bool = True,
    batch_stats: str = "averaged",
) -> Averaging:
    """w̄ ← d·w̄ + (1 − d)·w after every update: an exponential average; Polyak & Juditsky 1992.

    With `warmup`, d = min(decay, (1 + t)/(10 + t)) after t updates, which discounts the initial
    weights quickly.
    """
    del run
    return Averaging(Partial(_rising_share if warmup else _share, decay=decay), batch_stats)


def _share(step, decay):
    del step
    return 1 - decay


def _rising_share(step, decay):
    return 1 - jnp.minimum(decay, (1 + step) / (10 + step))


def swa(
    run: RunLength, start: str = "75%", every: str = "1 epoch", batch_stats: str = "reestimated"
) -> Averaging:
    """The mean of the weights at `start` and every `every` thereafter; Izmailov et al. 2018.

    Raises:
      UserError: `start` is past the end of the run, or `every` is shorter than one step.
    """
    first = math.ceil(run.stretch(start, "config.averaging.start"))
    if first > run.steps:
        raise UserError(
            f"config.averaging.start={start!r} is step {first}, but the run has {run.steps}"
        )
    period = run.period(every, "config.averaging.every")
    if period < 1:
        raise UserError(f"config.averaging.every={every!r} must be at least one step")
    share = Partial(_share_of_mean, first=first, ends=period_ends(period, run.steps))
    return Averaging(share, batch_stats)


def _share_of_mean(step, first, ends):
    past = jnp.maximum(step - first, 0)
    count = passed(ends, past)  # averaged since the first
    is_due = (past == 0) | (count > passed(ends, jnp.maximum(past - 1, 0)))
    return jnp.where(step < first, 1.0, jnp.where(is_due, 1 / (1.0 + count), 0.0))


for _average in (none, ema, swa):
    AVERAGES.register(_average.__name__, _average)


def create_averaging(settings: dict, run: RunLength) -> Averaging:
    """Builds the averaging that a config's resolved `averaging` section describes.

    Raises:
      UserError: a duration cannot be parsed, or a name does not exist.
    """
    settings = dict(settings)
    averaging = AVERAGES.create(settings.pop("name"), run, **settings)
    valid = BATCH_STATS if averaging.share else ("running", "reestimated")
    check_choice("config.averaging.batch_stats", averaging.batch_stats, valid)
    return averaging
