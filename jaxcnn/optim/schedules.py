"""Learning-rate schedules by name: step → a factor of the peak learning rate, in [0, 1].

A schedule begins where the linear warm-up ends: t, in steps, counts from there, and T is what the
warm-up leaves of the run. A run that goes on after T, by a step or two, stays at the schedule's end.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn.durations import RunLength
from jaxcnn.errors import UserError, check_choice
from jaxcnn.optim.plateau import ReduceOnPlateau
from jaxcnn.registry import Registry


@dataclass(frozen=True)
class Schedule:
    """What changes along a run, as functions of the step; and what reacts to its validation metrics."""

    factor: optax.Schedule  # of the peak learning rate
    momentum: optax.Schedule | None = None  # the momentum itself, where it moves too
    plateau: Callable[[], ReduceOnPlateau] | None = None  # makes one, for a run


def constant(run: RunLength) -> optax.Schedule:
    """1 throughout."""
    del run
    return optax.constant_schedule(1.0)


def step(run: RunLength, every: str = "30%", gamma: float = 0.1) -> optax.Schedule:
    """γ^⌊t/every⌋: × γ after every `every`."""
    passed = periods(run.period(every, "config.schedule.every"), run.steps)
    return lambda t: gamma ** passed(t)


def multistep(run: RunLength, at: tuple = ("50%", "75%"), gamma: float = 0.1) -> optax.Schedule:
    """× γ at each moment of `at`, counted from the start of the run, warm-up included."""
    moments = []
    for i, text in enumerate(at):
        setting = f"config.schedule.at.{i}"
        if not isinstance(text, str):
            raise UserError(f"{setting}={text!r} is not a duration, such as '50%' or '60 epochs'")
        moments.append(math.ceil(run.stretch(text, setting)))
        if not run.warmup <= moments[-1] < run.steps:
            raise UserError(
                f"{setting}={text!r} is step {moments[-1]}; it must lie between the end of the "
                f"warm-up, step {run.warmup}, and the end of the run, step {run.steps}"
            )
    after_warmup = jnp.array([moment - run.warmup for moment in moments], jnp.int32)
    return lambda t: gamma ** (t >= after_warmup).sum()


def exponential(run: RunLength, rate: float = 0.05, every: str = "1 epoch") -> optax.Schedule:
    """(1 − rate)^(t/every), at every step anew."""
    _check_fraction("rate", rate)
    return optax.exponential_decay(1.0, _steps(run, "every", every), 1 - rate)


def inverse_time(run: RunLength, decay: float = 1.0, every: str = "1 epoch") -> optax.Schedule:
    """1/(1 + decay·t/every)."""
    period = _steps(run, "every", every)
    return lambda t: 1 / (1 + decay * t / period)


def inverse_sqrt(run: RunLength, timescale: str = "10%") -> optax.Schedule:
    """√(τ/(t + τ)): with τ the warm-up's length, √(warm-up/step) after it; Vaswani et al. 2017."""
    tau = _steps(run, "timescale", timescale)
    return lambda t: jnp.sqrt(tau / (t + tau))


def linear(run: RunLength, final: float = 0.0) -> optax.Schedule:
    """1 − (1 − final)·t/T."""
    return optax.linear_schedule(1.0, final, run.steps_after_warmup)


def polynomial(run: RunLength, power: float = 2.0, final: float = 0.0) -> optax.Schedule:
    """final + (1 − final)·(1 − t/T)^power."""
    return optax.polynomial_schedule(1.0, final, power, run.steps_after_warmup)


def cosine(run: RunLength, final: float = 0.0) -> optax.Schedule:
    """final + (1 − final)·½(1 + cos(πt/T)): half a cosine; Loshchilov & Hutter 2017."""
    return optax.cosine_decay_schedule(1.0, run.steps_after_warmup, alpha=final)


def cosine_restarts(
    run: RunLength, first: str = "25%", growth: int = 1, final: float = 0.0
) -> optax.Schedule:
    """Half a cosine over `first` (T₀), then again from 1, each `growth` (T_mult) times as long.

    Loshchilov & Hutter 2017.
    """
    if growth < 1:
        raise UserError(f"config.schedule.growth={growth} must be at least 1")
    length = round(_steps(run, "first", first)) or 1
    if growth == 1:
        cosine_of = optax.cosine_decay_schedule(1.0, length, alpha=final)
        return lambda t: cosine_of(t % length)
    restarts, cosines = [], []
    while not restarts or restarts[-1] < run.steps_after_warmup:
        cosines.append(optax.cosine_decay_schedule(1.0, length, alpha=final))
        restarts.append((restarts[-1] if restarts else 0) + length)
        length *= growth
    return optax.join_schedules(cosines, restarts[:-1])


def cyclic(
    run: RunLength,
    half_cycle: str = "10%",
    low: float = 0.1,
    mode: str = "triangular",
    gamma: float = 0.9999,
) -> optax.Schedule:
    """Up from `low` to the peak in `half_cycle` and down again, over and over; Smith 2017.

    The peaks are all 1 ('triangular'), halve from cycle to cycle ('triangular2'), or fall as γᵗ
    ('exp_range').
    """
    check_choice("config.schedule.mode", mode, ("triangular", "triangular2", "exp_range"))
    half = max(1, round(_steps(run, "half_cycle", half_cycle)))
    heights = {
        "triangular": lambda t: 1.0,
        "triangular2": lambda t: 0.5 ** (t // (2 * half)),
        "exp_range": lambda t: gamma**t,
    }

    def factor(t):
        height = 1 - abs(t % (2 * half) / half - 1)
        return low + (1 - low) * height * heights[mode](t)

    return factor


def one_cycle(
    run: RunLength,
    rising: float = 0.3,
    start_divisor: float = 25.0,
    final_divisor: float = 1e4,
    cycle_momentum: bool = True,
    low_momentum: float = 0.85,
    high_momentum: float = 0.95,
) -> Schedule:
    """Half a cosine up to the peak, for `rising` of the run, then one down; momentum the other way.

    From 1/start_divisor to 1 to 1/(start_divisor·final_divisor), reached in the last step; Smith &
    Topin 2018, with torch's OneCycleLR's details.
    """
    _check_fraction("rising", rising)
    last = run.steps_after_warmup - 1
    top = max(0.0, rising * run.steps_after_warmup - 1)
    begin, end = 1 / start_divisor, 1 / (start_divisor * final_divisor)

    def there_and_back(first: float, middle: float, final: float) -> optax.Schedule:
        def value(t):
            up = _half_cosine(first, middle, t / max(top, 1e-9))
            down = _half_cosine(middle, final, (t - top) / max(last - top, 1e-9))
            return jnp.where(t <= top, up, down)

        return value

    momentum = there_and_back(high_momentum, low_momentum, high_momentum)
    return Schedule(there_and_back(begin, 1.0, end), momentum if cycle_momentum else None)


def warmup_stable_decay(run: RunLength, decay: str = "20%", final: float = 0.0) -> optax.Schedule:
    """1, then a straight line down to `final` in the last `decay` of the run; after Hu et al. 2024."""
    length = min(math.ceil(_steps(run, "decay", decay)), run.steps_after_warmup)
    begin = run.steps_after_warmup - length
    return optax.linear_schedule(1.0, final, length, transition_begin=begin)


def reduce_on_plateau(
    run: RunLength,
    metric: str = "loss",
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    cooldown: int = 0,
    final: float = 0.0,
) -> Schedule:
    """× factor when a validation metric has not become better for more than `patience` evaluations.

    Better is by a `threshold` of the best so far; `cooldown` evaluations after a reduction do not
    count; the factor never falls below `final`. As torch's ReduceLROnPlateau.
    """
    del run
    _check_fraction("factor", factor)

    def plateau() -> ReduceOnPlateau:
        return ReduceOnPlateau(metric, factor, patience, threshold, cooldown, final)

    return Schedule(optax.constant_schedule(1.0), plateau=plateau)


SCHEDULES = Registry("schedule")
for _schedule in (
    constant, step, multistep, exponential, inverse_time, inverse_sqrt, linear, polynomial, cosine,
    cosine_restarts, cyclic, one_cycle, warmup_stable_decay, reduce_on_plateau,
):  # fmt: skip
    SCHEDULES.register(_schedule.__name__, _schedule)


def create_schedule(settings: dict, run: RunLength) -> Schedule:
    """Builds the schedule that a config's resolved `schedule` section describes, after its warm-up.

    From a (warm-up + 1)th of the schedule's first factor at step 0, the factor rises to all of it at
    step `run.warmup`, where the schedule proper begins.

    Raises:
      UserError: a duration cannot be read or does not fit the run, or a value is out of its range.
    """
    settings = {key: value for key, value in settings.items() if key != "warmup"}
    schedule = SCHEDULES.create(settings.pop("name"), run, **settings)
    if not isinstance(schedule, Schedule):
        schedule = Schedule(schedule)
    if run.warmup == 0:
        return schedule
    begin = float(jax.jit(schedule.factor)(0))  # one small program, not one for each operation
    rise = optax.linear_schedule(begin / (run.warmup + 1), begin, run.warmup)

    def later(function: optax.Schedule) -> optax.Schedule:
        return lambda step: function(jnp.maximum(step - run.warmup, 0))

    def factor(step):
        return jnp.where(step < run.warmup, rise(step), later(schedule.factor)(step))

    return Schedule(factor, schedule.momentum and later(schedule.momentum), schedule.plateau)


def periods(period: Fraction, up_to: int) -> Callable:
    """steps → how many whole periods there are in them, exactly, for 0 ≤ steps ≤ up_to.

    An epoch is rarely a whole number of steps, so this is a matter of fractions, which devices lack.
    """
    ends = [math.ceil(count * period) for count in range(1, math.floor(up_to / period) + 1)]
    ends = np.array(ends, np.int32)
    return lambda steps: jnp.searchsorted(ends, steps, side="right")


def _steps(run: RunLength, key: str, text: str) -> float:
    return float(run.period(text, f"config.schedule.{key}"))


def _half_cosine(start: float, end: float, fraction):
    return end + (start - end) / 2 * (1 + jnp.cos(jnp.pi * jnp.clip(fraction, 0, 1)))


def _check_fraction(key: str, value: float) -> None:
    if not 0 < value < 1:
        raise UserError(f"config.schedule.{key}={value} must be more than 0 and less than 1")
