"""Whether a network can learn a few images by heart, at its own learning rate."""

from dataclasses import dataclass

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from jaxcnn.data.dataset import Dataset
from jaxcnn.diagnose.checks.finding import Finding, failed, passed
from jaxcnn.diagnose.checks.subject import Subject
from jaxcnn.layout import Layout
from jaxcnn.train.step import make_train_step

_SMALL = 0.05  # of the loss of outputs of 0
_FACTORS = (1.0, 0.1, 10.0, 0.01, 0.001, 100.0)  # of the learning rate, in the order of trying


@dataclass(frozen=True)
class Attempt:
    """The training losses at one learning rate, and the parameters that did not move."""

    losses: list[float]
    still: list[str]


def check_overfit(subject: Subject, dataset: Dataset, steps: int) -> Finding:
    """The loss on a few images falls to almost 0, with nothing in the way.

    If it does not, other learning rates tell whether that is the cause.
    """
    count, rate = len(subject.batch["label"]), subject.config.optimizer.learning_rate
    step = jax.jit(make_train_step(subject.experiment.model), donate_argnums=0)
    target, attempts = _SMALL * subject.neutral_loss, {}
    for factor in _FACTORS:
        attempts[factor] = attempt = _attempt(subject, dataset, factor, steps, target, step)
        if attempt.losses[-1] <= target:
            break
    else:
        factor = None
    values = {
        "learning rate": rate,
        "losses": {f"{rate * f:.3g}": a.losses[-1] for f, a in attempts.items()},
        "steps": {f"{rate * f:.3g}": len(a.losses) for f, a in attempts.items()},
    }
    own = attempts[1.0].losses
    said = f"at a learning rate of {rate:.3g}, the loss on {count} images ends at {own[-1]:.3g}"
    if factor is None:
        rates = f"{rate * min(_FACTORS):.2g} and {rate * max(_FACTORS):.2g}"
        return failed(
            "overfit",
            f"{said} after {steps} steps, and no rate between {rates} brings it to {target:.2g}",
            **values,
        )
    if factor == 1.0 and attempts[factor].still:
        still = attempts[factor].still
        more = f" (and {len(still) - 1} more)" if still[1:] else ""
        return failed("overfit", f"{still[0]}{more} did not change in {len(own)} steps", **values)
    if factor == 1.0:
        return passed(
            "overfit",
            f"the loss on {count} images falls to {own[-1]:.2g} in {len(own)} steps",
            **values,
        )
    remedy = f"with {factor:g} times that, it falls to {attempts[factor].losses[-1]:.2g}"
    if factor in (0.1, 10.0):
        return passed("overfit", f"{said}; {remedy}", **values)
    wrong = "high" if factor < 1 else "low"
    return failed("overfit", f"the learning rate is too {wrong}: {said}; {remedy}", **values)


def _attempt(
    subject: Subject, dataset: Dataset, factor: float, steps: int, target: float, step
) -> Attempt:
    experiment = subject.with_learning_rate(factor, dataset)
    layout: Layout = subject.layout
    recipe = layout.put(experiment.recipe, layout.numbers)
    state, losses = subject.state(dataset), []
    first = flatten_dict(jax.device_get(state.params), sep="/")
    for _ in range(steps):
        state, metrics = step(state, subject.batch, recipe)
        (reading,) = metrics.read()
        losses.append(float(reading.values["loss"]))
        if reading.divergence or losses[-1] <= target:
            break
    if reading.divergence:
        losses.append(float("inf"))
    frozen = experiment.recipe.groups.frozen if experiment.recipe.groups else ()
    last = flatten_dict(jax.device_get(state.params), sep="/")
    paths = [path for path, before in first.items() if np.array_equal(before, last[path])]
    return Attempt(losses, [path for path in paths if path not in frozen])
