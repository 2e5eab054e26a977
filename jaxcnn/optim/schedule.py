"""What a schedule is, and how whole periods are counted in a compiled program."""

import math
from collections.abc import Callable
from fractions import Fraction

import flax.struct
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxcnn.optim.plateau import ReduceOnPlateau

_NEVER = np.iinfo(np.int32).max


class Schedule(flax.struct.PyTreeNode):
    """What changes along a run, as functions of the step; and what reacts to its validation metrics.

    `plateau`, numbers of the host, is left out of what is compiled (`traced`).
    """

    factor: Partial  # of the peak learning rate
    momentum: Partial | None = None  # the momentum itself, where it moves too
    plateau: ReduceOnPlateau | None = flax.struct.field(pytree_node=False, default=None)

    def after_warmup(self, warmup: int) -> "Schedule":
        """The schedule begun after so many steps, in which the factor rises to its first value."""
        momentum = self.momentum and Partial(_after, function=self.momentum, warmup=warmup)
        factor = Partial(_warmed_up, function=self.factor, warmup=warmup)
        return self.replace(factor=factor, momentum=momentum)

    def traced(self) -> "Schedule":
        """What of it is in the compiled program, where any function of the step may stand."""
        momentum = self.momentum and as_partial(self.momentum)
        return Schedule(as_partial(self.factor), momentum)


def as_partial(function: Callable) -> Partial:
    """A function as a pytree; one that is none yet brings no numbers that could change."""
    return function if isinstance(function, Partial) else Partial(function)


def _warmed_up(step, function: Partial, warmup):
    begin = function(0)
    low = begin / (warmup + 1)
    left = 1 - jnp.clip(step, 0, warmup) / jnp.maximum(warmup, 1.0)
    rising = (low - begin) * left + begin
    return jnp.where(step < warmup, rising, _after(step, function, warmup))


def _after(step, function: Partial, warmup):
    return function(jnp.maximum(step - warmup, 0))


def period_ends(period: Fraction, up_to: int) -> np.ndarray:
    """int32: the steps up to `up_to` at which a period ends, exactly.

    An epoch is rarely a whole number of steps, so this is a matter of fractions, which devices lack.
    """
    count = math.floor(up_to / period)
    return padded(np.array([math.ceil(number * period) for number in range(1, count + 1)]))


def passed(ends: np.ndarray, steps):
    """How many of these ends lie in so many steps."""
    return jnp.searchsorted(jnp.asarray(ends), steps, side="right")


def padded(moments: np.ndarray) -> np.ndarray:
    """int32, filled up to a power of two, so that other numbers of moments share a program."""
    length = max(16, 1 << max(0, len(moments) - 1).bit_length())
    return np.concatenate([moments, np.full(length - len(moments), _NEVER)]).astype(np.int32)
