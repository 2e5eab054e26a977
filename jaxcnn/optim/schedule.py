"""The schedule type, and exact counting of periods in a compiled program."""

import math
from collections.abc import Callable
from fractions import Fraction

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxcnn.optim.plateau import ReduceOnPlateau

_NEVER = np.iinfo(np.int32).max
_LOW = 0.05  # of a schedule's range: a rate at which a cycle has ended


class Schedule(flax.struct.PyTreeNode):
    """Functions of the step for the learning rate and momentum, and a rule for plateaus.

    `plateau` acts on the host and is not part of the compiled program (see `traced`).
    """

    factor: Partial  # step → factor of the peak learning rate
    momentum: Partial | None = None  # step → momentum, if scheduled
    plateau: ReduceOnPlateau | None = flax.struct.field(pytree_node=False, default=None)

    def after_warmup(self, warmup: int) -> "Schedule":
        """This schedule, after `warmup` steps in which the factor rises linearly to its start."""
        momentum = self.momentum and Partial(_after, function=self.momentum, warmup=warmup)
        factor = Partial(_warmed_up, function=self.factor, warmup=warmup)
        return self.replace(factor=factor, momentum=momentum)

    def traced(self) -> "Schedule":
        """The part that is compiled, with plain functions of the step wrapped as pytrees."""
        momentum = self.momentum and as_partial(self.momentum)
        return Schedule(as_partial(self.factor), momentum)


def as_partial(function: Callable) -> Partial:
    """A function as a pytree; a plain function becomes one without leaves."""
    return function if isinstance(function, Partial) else Partial(function)


def _warmed_up(step, function: Partial, warmup):
    begin = function(0)
    low = begin / (warmup + 1)
    left = 1 - jnp.clip(step, 0, warmup) / jnp.maximum(warmup, 1.0)
    rising = (low - begin) * left + begin
    return jnp.where(step < warmup, rising, _after(step, function, warmup))


def _after(step, function: Partial, warmup):
    return function(jnp.maximum(step - warmup, 0))


def troughs(schedule: Schedule, steps: int) -> tuple[int, ...]:
    """The numbers of steps of a run after which the learning rate, having fallen, rises again.

    The run's end is one too if the rate would rise after it, or still falls and is low: as cycles are
    whole numbers of steps, the last of several may lack a few.
    """
    rates = np.asarray(jax.vmap(schedule.traced().factor)(jnp.arange(steps + 1)), np.float64)
    changes = np.diff(rates)
    moments, falling = [], False
    for step in np.flatnonzero(changes):
        if changes[step] > 0 and falling:
            moments.append(int(step) + 1)
        falling = changes[step] < 0
    if steps and changes[-1] < 0 and rates[-1] - rates.min() <= _LOW * np.ptp(rates):
        moments.append(steps)
    return tuple(moments)


def period_ends(period: Fraction, up_to: int) -> np.ndarray:
    """The exact steps up to `up_to` at which a period ends; (n,) int32, padded.

    They are computed on the host with fractions, since an epoch is rarely a whole number of steps.
    """
    count = math.floor(up_to / period)
    return padded(np.array([math.ceil(number * period) for number in range(1, count + 1)]))


def passed(ends: np.ndarray, steps):
    """The number of period ends at or before each step."""
    return jnp.searchsorted(jnp.asarray(ends), steps, side="right")


def padded(moments: np.ndarray) -> np.ndarray:
    """int32, padded to a power of two, so that different numbers of moments share a program."""
    length = max(16, 1 << max(0, len(moments) - 1).bit_length())
    return np.concatenate([moments, np.full(length - len(moments), _NEVER)]).astype(np.int32)
