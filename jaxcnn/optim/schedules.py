"""Learning-rate schedules by name: step → a factor of the peak learning rate, in [0, 1].

A schedule begins at the end of the linear warm-up: t counts steps from there, and T is the number
of steps after the warm-up. If a run continues a step or two past T, the schedule stays at its end.

Each is a `jax.tree_util.Partial`: a function of the step, whose numbers are inputs of the compiled
program. (optax's schedules branch on their numbers in Python, so these cannot be traced.) Lengths
are floats, since the quotient of two integers is float32 even in a float64 program.
"""

import math
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxcnn.durations import RunLength
from jaxcnn.errors import UserError
from jaxcnn.limits import (
    AT_LEAST_0,
    AT_LEAST_1,
    FRACTION,
    INNER_FRACTION,
    SHARE,
    UP_TO_1,
    one_of,
)  # fmt: skip
from jaxcnn.optim.plateau import ReduceOnPlateau
from jaxcnn.optim.schedule import Schedule, as_partial, padded, passed, period_ends
from jaxcnn.registry import Registry


def constant(run: RunLength) -> Partial:
    """1 throughout."""
    del run
    return Partial(_constant)


def _constant(t):
    return jnp.ones_like(t, jnp.result_type(float))


def step(run: RunLength, every: str = "30%", gamma: Annotated[float, UP_TO_1] = 0.1) -> Partial:
    """γ^⌊t/every⌋: multiplied by γ at the end of every period `every`."""
    ends = period_ends(run.period(every, "config.schedule.every"), run.steps)
    return Partial(_powers, ends=ends, gamma=gamma)


def multistep(
    run: RunLength, at: tuple = ("50%", "75%"), gamma: Annotated[float, UP_TO_1] = 0.1
) -> Partial:
    """Multiplied by γ at each of `at`, counted from the start of the run, including the warm-up.

    Raises:
      UserError: one is not a duration, or does not lie between the warm-up and the end of the run.
    """
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
    after_warmup = np.sort(np.array([moment - run.warmup for moment in moments], np.int32))
    return Partial(_powers, ends=after_warmup, gamma=gamma)


def _powers(t, ends, gamma):
    return gamma ** passed(ends, t)


def exponential(
    run: RunLength, rate: Annotated[float, INNER_FRACTION] = 0.05, every: str = "1 epoch"
) -> Partial:
    """(1 − rate)^(t/every), updated at every step."""
    return Partial(_exponential, rate=rate, period=_steps(run, "every", every))


def _exponential(t, rate, period):
    return (1 - rate) ** (t / period)


def inverse_time(
    run: RunLength, decay: Annotated[float, AT_LEAST_0] = 1.0, every: str = "1 epoch"
) -> Partial:
    """1/(1 + decay·t/every)."""
    return Partial(_inverse_time, decay=decay, period=_steps(run, "every", every))


def _inverse_time(t, decay, period):
    return 1 / (1 + decay * t / period)


def inverse_sqrt(run: RunLength, timescale: str = "10%") -> Partial:
    """√(τ/(t + τ)); √(warm-up/step) if τ is the length of the warm-up; Vaswani et al. 2017."""
    return Partial(_inverse_sqrt, tau=_steps(run, "timescale", timescale))


def _inverse_sqrt(t, tau):
    return jnp.sqrt(tau / (t + tau))


def linear(run: RunLength, final: Annotated[float, SHARE] = 0.0) -> Partial:
    """1 − (1 − final)·t/T."""
    return Partial(
        _polynomial, begin=0, length=float(run.steps_after_warmup), power=1.0, final=final
    )


def polynomial(
    run: RunLength,
    power: Annotated[float, AT_LEAST_0] = 2.0,
    final: Annotated[float, SHARE] = 0.0,
) -> Partial:
    """final + (1 − final)·(1 − t/T)^power."""
    return Partial(
        _polynomial, begin=0, length=float(run.steps_after_warmup), power=power, final=final
    )


def warmup_stable_decay(
    run: RunLength, decay: str = "20%", final: Annotated[float, SHARE] = 0.0
) -> Partial:
    """1, then linear decay to `final` over the last `decay` of the run; after Hu et al. 2024."""
    length = min(math.ceil(_steps(run, "decay", decay)), run.steps_after_warmup)
    begin = run.steps_after_warmup - length
    return Partial(_polynomial, begin=begin, length=float(length), power=1.0, final=final)


def _polynomial(t, begin, length, power, final):
    left = 1 - jnp.clip(t - begin, 0, length) / length
    return (1 - final) * left**power + final


def cosine(run: RunLength, final: Annotated[float, SHARE] = 0.0) -> Partial:
    """final + (1 − final)·½(1 + cos(πt/T)), half a cosine period; Loshchilov & Hutter 2017."""
    return Partial(_cosine, length=float(run.steps_after_warmup), final=final)


def _cosine(t, length, final):
    return (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(t, length) / length)) + final


def cosine_restarts(
    run: RunLength,
    first: str = "25%",
    growth: Annotated[int, AT_LEAST_1] = 1,
    final: Annotated[float, SHARE] = 0.0,
) -> Partial:
    """Half a cosine over `first` (T₀), then restarts, each `growth` (T_mult) times as long.

    Loshchilov & Hutter 2017.
    """
    length = round(_steps(run, "first", first)) or 1
    if growth == 1:
        return Partial(_cosine_restarts, length=float(length), final=final)
    lengths = [length]
    while sum(lengths) < run.steps_after_warmup:
        lengths.append(lengths[-1] * growth)
    ends = np.cumsum(lengths)
    return Partial(
        _growing_restarts,
        starts=padded(ends[:-1]),
        lengths=padded(np.array(lengths[1:])),
        first=float(length),
        final=final,
    )


def _cosine_restarts(t, length, final):
    return _cosine(t % length, length, final)


def _growing_restarts(t, starts, lengths, first, final):
    restarts = passed(starts, t)
    last = jnp.maximum(restarts - 1, 0)
    start = jnp.where(restarts > 0, jnp.asarray(starts)[last], 0)
    length = jnp.where(restarts > 0, jnp.asarray(lengths)[last], first)
    return _cosine(t - start, length, final)


def cyclic(
    run: RunLength,
    half_cycle: str = "10%",
    low: Annotated[float, SHARE] = 0.1,
    mode: Annotated[str, one_of(("triangular", "triangular2", "exp_range"))] = "triangular",
    gamma: Annotated[float, UP_TO_1] = 0.9999,
) -> Partial:
    """Linear from `low` up to the peak in `half_cycle` and back, repeated; Smith 2017.

    The peak is 1 in every cycle ('triangular'), halves with each cycle ('triangular2'), or decays
    as γᵗ ('exp_range').
    """
    half = max(1, round(_steps(run, "half_cycle", half_cycle)))
    if mode == "exp_range":
        return Partial(_falling_triangles, half=float(half), low=low, gamma=gamma)
    return Partial(
        _triangles, half=float(half), low=low, shrink=0.5 if mode == "triangular2" else 1.0
    )


def _triangle(t, half):
    return 1 - abs(t % (2 * half) / half - 1)


def _triangles(t, half, low, shrink):
    return low + (1 - low) * _triangle(t, half) * shrink ** (t // (2 * half))


def _falling_triangles(t, half, low, gamma):
    return low + (1 - low) * _triangle(t, half) * gamma**t


def one_cycle(
    run: RunLength,
    rising: Annotated[float, INNER_FRACTION] = 0.3,
    start_divisor: Annotated[float, AT_LEAST_1] = 25.0,
    final_divisor: Annotated[float, AT_LEAST_1] = 1e4,
    cycle_momentum: bool = True,
    low_momentum: Annotated[float, FRACTION] = 0.85,
    high_momentum: Annotated[float, FRACTION] = 0.95,
) -> Schedule:
    """Half a cosine up over a fraction `rising` of the run, then one down; the momentum is inverse.

    From 1/start_divisor to 1 to 1/(start_divisor·final_divisor), reached at the last step; Smith &
    Topin 2018, in the version of torch's OneCycleLR.
    """
    last = run.steps_after_warmup - 1
    top = max(0.0, rising * run.steps_after_warmup - 1)
    phases = {"top": top, "up": max(top, 1e-9), "down": max(last - top, 1e-9)}
    begin, end = 1 / start_divisor, 1 / (start_divisor * final_divisor)
    factor = Partial(_there_and_back, begin=begin, middle=1.0, end=end, **phases)
    if not cycle_momentum:
        return Schedule(factor)
    extremes = {"begin": high_momentum, "middle": low_momentum, "end": high_momentum}
    return Schedule(factor, Partial(_there_and_back, **extremes, **phases))


def _there_and_back(t, begin, middle, end, top, up, down):
    rising = _half_cosine(begin, middle, t / up)
    return jnp.where(t <= top, rising, _half_cosine(middle, end, (t - top) / down))


def _half_cosine(start, end, fraction):
    return end + (start - end) / 2 * (1 + jnp.cos(jnp.pi * jnp.clip(fraction, 0, 1)))


def reduce_on_plateau(
    run: RunLength,
    metric: str = "loss",
    factor: Annotated[float, INNER_FRACTION] = 0.1,
    patience: Annotated[int, AT_LEAST_0] = 10,
    threshold: Annotated[float, AT_LEAST_0] = 1e-4,
    cooldown: Annotated[int, AT_LEAST_0] = 0,
    final: Annotated[float, SHARE] = 0.0,
) -> Schedule:
    """Multiplied by `factor` if a validation metric stalls for more than `patience` evaluations.

    An improvement must exceed the relative `threshold`. The `cooldown` evaluations after a
    reduction do not count. The learning-rate factor never falls below `final`. As torch's
    ReduceLROnPlateau.
    """
    plateau = ReduceOnPlateau(metric, factor, patience, threshold, cooldown, final)
    return Schedule(constant(run), plateau=plateau)


SCHEDULES = Registry("schedule")
register_schedule = SCHEDULES.register
for _schedule in (
    constant, step, multistep, exponential, inverse_time, inverse_sqrt, linear, polynomial, cosine,
    cosine_restarts, cyclic, one_cycle, warmup_stable_decay, reduce_on_plateau,
):  # fmt: skip
    register_schedule(_schedule.__name__, _schedule)


def create_schedule(settings: dict, run: RunLength) -> Schedule:
    """Builds the schedule that a config's resolved `schedule` section describes, with its warm-up.

    The factor rises linearly from 1/(`run.warmup` + 1) of the schedule's first factor at step 0 to
    that factor at step `run.warmup`, where the schedule itself begins.

    Raises:
      UserError: a duration cannot be parsed or does not fit the run, or a value is out of range.
    """
    settings = {key: value for key, value in settings.items() if key != "warmup"}
    schedule: Any = SCHEDULES.create(settings.pop("name"), run, **settings)
    if not isinstance(schedule, Schedule):
        schedule = Schedule(as_partial(schedule))
    return schedule.after_warmup(run.warmup)


def _steps(run: RunLength, key: str, text: str) -> float:
    return float(run.period(text, f"config.schedule.{key}"))
