"""The learning-rate range test: the loss while the rate rises from step to step (Smith 2015)."""

from contextlib import closing
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from ml_collections import ConfigDict

from jaxcnn.data.dataset import Dataset
from jaxcnn.errors import UserError
from jaxcnn.layout import Layout
from jaxcnn.optim.schedule import Schedule
from jaxcnn.train.experiment import Experiment, check_trainable, create_feed, resolve
from jaxcnn.train.pretrained import load_pretrained
from jaxcnn.train.state import init_state
from jaxcnn.train.step import make_train_step

_MEMORY = 0.9  # of the moving average of the loss
_NOTHING = 0.01  # of the loss at the start
_RISEN = 2.0  # times its smallest value: the test ends
_TURNED = 1.1  # times its smallest value: the loss rises again
_SHARE = 0.5  # of the rate at which the loss is smallest: beyond it, training is unstable


@dataclass(frozen=True)
class RangeTest:
    """What the test saw.

    Attributes:
      rates, losses, smoothed: (steps,), of the steps that were taken.
      suggestion: a learning rate.
      reason: why, in a sentence.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float
    reason: str

    def to_json(self) -> dict:
        arrays = {name: getattr(self, name).tolist() for name in ("rates", "losses", "smoothed")}
        return {"suggestion": self.suggestion, "reason": self.reason, **arrays}


def range_test(
    config: ConfigDict,
    dataset: Dataset,
    low: float = 1e-5,
    high: float = 10.0,
    steps: int = 200,
) -> RangeTest:
    """Trains a resolved config's network while its learning rate rises from `low` to `high`.

    The rate is multiplied by the same factor at every step; the test ends early where the
    smoothed loss has risen to twice its smallest value. Augmentation, regularisation and the
    optimizer are the config's. Nothing is written, and the config is unchanged.

    Raises:
      UserError: the config cannot be trained on the data; or the loss never falls, has not risen by
        `high`, or is not finite from the start.
    """
    config = config.copy_and_resolve_references()
    config.schedule = ConfigDict({"name": "constant", "warmup": "0 steps"})
    config.averaging = ConfigDict({"name": "none"})
    config.checkpoint.snapshots = 0
    config.train.duration, config.optimizer.learning_rate = f"{steps} steps", low
    config = resolve(config)
    layout = Layout.over_all_devices(config.sharding)
    experiment = Experiment.of(config, dataset.spec, layout)
    check_trainable(config, experiment, dataset.spec, layout)
    rising = Partial(_rising, rate=(high / low) ** (1 / max(1, steps - 1)))
    optimizer = experiment.recipe.optimizer.replace(schedule=Schedule(rising))
    recipe = experiment.recipe.replace(optimizer=optimizer)
    pretrained, _ = load_pretrained(config, experiment, dataset.spec)
    shape = dataset.spec.image_shape
    state = init_state(experiment.model, recipe, shape, config.seed, layout, pretrained)
    losses = _losses(config, dataset, experiment, layout, layout.put(recipe, layout.numbers), state)
    rates = low * (high / low) ** (np.arange(len(losses)) / max(1, steps - 1))
    return _judged(rates, np.array(losses), ended=len(losses) < steps)


def _losses(config, dataset, experiment, layout, recipe, state) -> list[float]:
    """The training loss before each update, until it has risen."""
    step = jax.jit(make_train_step(experiment.model), donate_argnums=0)
    losses: list[float] = []
    feed = create_feed(config, dataset, experiment, layout)
    with closing(feed.train_batches(0)) as batches:
        for batch, _ in zip(batches, range(experiment.length.steps), strict=False):
            state, metrics = step(state, batch, recipe)
            (reading,) = metrics.read()
            if reading.divergence:
                break
            losses.append(reading.values["loss"])
            smooth = smoothed(np.array(losses))
            if smooth[-1] > _RISEN * smooth.min():
                break
    if len(losses) < 2:
        raise UserError("the loss is not finite from the first steps on; jaxcnn check tells why")
    return losses


def _judged(rates: np.ndarray, losses: np.ndarray, ended: bool) -> RangeTest:
    """`ended`: whether the test ended before the last rate."""
    smooth, tenth = smoothed(losses), len(losses) // 10
    best = int(smooth.argmin())
    if best <= tenth or smooth[best] > 0.98 * smooth[: tenth + 1].mean():
        raise UserError(
            f"the loss does not fall at any rate from {rates[0]:.2g} to {rates[-1]:.2g}: it begins at "
            f"{smooth[0]:.3g} and is at least {smooth[best]:.3g}; jaxcnn check may tell why"
        )
    # A loss that is as good as 0 stays there at far too large rates, since its gradient is 0 too.
    nothing = np.flatnonzero(losses <= _NOTHING * smooth[0])
    lowest = min([best, *nothing])
    if not ended and not len(nothing) and smooth[-1] < _TURNED * smooth[best]:
        raise UserError(
            f"the loss has not risen by the last rate, {rates[-1]:.2g}, where it is {smooth[-1]:.3g}: "
            "no upper bound was seen, so no rate is suggested; raise --high"
        )
    suggestion = float(f"{_SHARE * rates[lowest]:.2g}")
    reason = (
        f"the smoothed loss falls from {smooth[0]:.3g} to {smooth[lowest]:.3g}, at a rate of "
        f"{rates[lowest]:.2g}; half of that leaves room"
    )
    return RangeTest(rates, losses, smooth, suggestion, reason)


def smoothed(losses: np.ndarray) -> np.ndarray:
    """The exponential moving average, corrected for its start at 0; (n,)."""
    average, out = 0.0, np.empty(len(losses))
    for i, loss in enumerate(losses):
        average = _MEMORY * average + (1 - _MEMORY) * loss
        out[i] = average / (1 - _MEMORY ** (i + 1))
    return out


def _rising(step, rate):
    return rate ** jnp.asarray(step, jnp.float32)
