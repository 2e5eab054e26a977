"""Metrics, accumulated on the device and read only where a line is written."""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from clu import metrics
from jax.tree_util import Partial

from jaxcnn.data.spec import DataSpec
from jaxcnn.train.losses import Loss

NEVER = 2**31 - 1
TOP_5_FROM = 10  # classes; among fewer, five guesses say little

HIGHER_IS_BETTER = ("accuracy", "top5_accuracy")
ALL = ("loss", "accuracy", "top5_accuracy", "mae")  # that a run can be judged by


def metrics_of(spec: DataSpec) -> tuple[str, ...]:
    """The metrics that a run on such data can be judged by."""
    if spec.targets:
        return ("loss", "mae")
    top_5 = ("top5_accuracy",) if spec.outputs >= TOP_5_FROM else ()
    return ("loss", "accuracy", *top_5)


def is_better(metric: str, value: float, other: float) -> bool:
    """Whether a metric of that name improved from `other` to `value`."""
    return value > other if metric in HIGHER_IS_BETTER else value < other


class Means(metrics.Collection):
    """Means over the examples that count, and how many there were."""

    def read(self) -> dict[str, float | int]:
        """Fetches from the device: the one transfer. Each mean by its name, and 'count'."""
        means = jax.device_get({name: getattr(self, name) for name in self.__annotations__})
        values = {name: float(mean.total) / int(mean.count) for name, mean in means.items()}
        return {**values, "count": int(means["loss"].count)}


@flax.struct.dataclass
class ClassMeans(Means):
    """Of a classifier: the loss, and the share of examples whose largest logit is their label's."""

    loss: metrics.Average.from_output("loss")
    accuracy: metrics.Average.from_output("correct")


@flax.struct.dataclass
class ManyClassMeans(Means):
    """The same, and the share of examples whose label is among the five largest logits."""

    loss: metrics.Average.from_output("loss")
    accuracy: metrics.Average.from_output("correct")
    top5_accuracy: metrics.Average.from_output("among_five")


@flax.struct.dataclass
class TargetMeans(Means):
    """Of a regression: the loss, and the mean absolute error over examples and entries."""

    loss: metrics.Average.from_output("loss")
    mae: metrics.Average.from_output("error")


def classification_means(
    loss: Loss, logits: jax.Array, labels: jax.Array, mask: jax.Array
) -> ClassMeans | ManyClassMeans:
    """Of a batch; labels are (batch,) numbers or (batch, classes) probabilities."""
    classes = labels if labels.ndim == 1 else labels.argmax(axis=1)
    found = {"loss": loss.per_example, "correct": logits.argmax(axis=1) == classes, "mask": mask}
    if logits.shape[1] < TOP_5_FROM:
        return ClassMeans.single_from_model_output(**found)
    among_five = _rank(logits, classes) < 5
    return ManyClassMeans.single_from_model_output(**found, among_five=among_five)


def _rank(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """How many classes come before the label's: of equal logits the first, as in `argmax`."""
    of_label = jnp.take_along_axis(logits, classes[:, None], axis=1)
    earlier = jnp.arange(logits.shape[1]) < classes[:, None]
    before = (logits > of_label) | ((logits == of_label) & earlier) | jnp.isnan(of_label)
    return before.sum(axis=1)


def regression_means(
    loss: Loss, outputs: jax.Array, targets: jax.Array, mask: jax.Array, scale: jax.Array
) -> TargetMeans:
    """Of a batch.

    Args:
      scale: of a target's shape; errors are multiplied by it, which brings them to the data's unit.
    """
    errors = jnp.abs(outputs.reshape(targets.shape) - targets) * scale
    error = errors.reshape(len(targets), -1).mean(axis=1)
    return TargetMeans.single_from_model_output(loss=loss.per_example, error=error, mask=mask)


def means_for(spec: DataSpec) -> Partial:
    """(loss, outputs, labels, mask) → the means for such data."""
    if spec.targets:
        return Partial(regression_means, scale=spec.targets.std)
    return Partial(classification_means)


@flax.struct.dataclass
class Divergence(metrics.Metric):
    """The first step at which the loss or the gradient was not finite (or NEVER), and its rate."""

    step: jax.Array
    learning_rate: jax.Array

    @classmethod
    def of(cls, step, finite, learning_rate) -> "Divergence":
        return cls(jnp.where(finite, NEVER, step), learning_rate)

    def merge(self, other: "Divergence") -> "Divergence":
        earlier = self.step <= other.step
        return jax.tree.map(lambda mine, its: jnp.where(earlier, mine, its), self, other)


class Reading(NamedTuple):
    """What a training line says: numbers by name; and (step, learning rate) of a divergence."""

    values: dict[str, float]
    divergence: tuple[int, float] | None


@flax.struct.dataclass
class TrainMetrics:
    """Means since the line before, and the last step's numbers; of one run, or of several trials."""

    means: Means
    last_step: dict[str, jax.Array]  # 'learning_rate', 'grad_norm', …
    divergence: Divergence

    @classmethod
    def none_yet(cls, like: "TrainMetrics") -> "TrainMetrics":
        """Those of no step, which merge with any others to these others.

        Args:
          like: a step's, or their shapes and dtypes.
        """
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        never = jnp.full_like(zeros.divergence.step, NEVER)
        return zeros.replace(divergence=zeros.divergence.replace(step=never))

    def merge(self, other: "TrainMetrics") -> "TrainMetrics":
        """These, and then those."""
        return TrainMetrics(
            self.means.merge(other.means),
            other.last_step,
            self.divergence.merge(other.divergence),
        )

    def read(self) -> list[Reading]:
        """Fetches from the device: the one transfer. One reading; or, of (trials,) leaves, each's."""
        fetched = jax.device_get(self)
        trials = fetched.divergence.step.size
        each = jax.tree.map(lambda leaf: leaf.reshape(trials), fetched)
        return [_reading(_entry(each, i)) for i in range(trials)]


def _entry(tree, index: int):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _reading(metrics: TrainMetrics) -> Reading:
    values = metrics.means.read()
    values.pop("count")
    values |= {name: float(value) for name, value in metrics.last_step.items()}
    step = int(metrics.divergence.step)
    diverged = None if step == NEVER else (step, float(metrics.divergence.learning_rate))
    return Reading(values, diverged)


merge = jax.jit(lambda old, new: old.merge(new))
