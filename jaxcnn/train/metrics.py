"""Metrics, accumulated on the device and transferred only for a log line."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics
from jax.tree_util import Partial

from jaxcnn.data.spec import DataSpec
from jaxcnn.train.losses import Loss

NEVER = 2**31 - 1
TOP_5_FROM = 10  # classes; with fewer, top-5 accuracy says little

HIGHER_IS_BETTER = ("accuracy", "top5_accuracy")
ALL = ("loss", "accuracy", "top5_accuracy", "mae")  # metrics to judge a run by


def metrics_of(spec: DataSpec) -> tuple[str, ...]:
    """The metrics available for such data."""
    if spec.targets:
        return ("loss", "mae")
    top_5 = ("top5_accuracy",) if spec.outputs >= TOP_5_FROM else ()
    return ("loss", "accuracy", *top_5)


def is_better(metric: str, values: Mapping[str, float], others: Mapping[str, float]) -> bool:
    """Whether an evaluation is better than another one by a metric, and where they tie by the loss."""

    def rank(evaluation: Mapping[str, float]) -> tuple[float, float]:
        value = evaluation[metric]
        return (value if metric in HIGHER_IS_BETTER else -value), -evaluation["loss"]

    return rank(values) > rank(others)


class Means(metrics.Collection):
    """Means over the unmasked examples, with their number."""

    def read(self) -> dict[str, float | int]:
        """Each mean by name, and 'count'; one transfer from the device."""
        means = jax.device_get({name: getattr(self, name) for name in self.__annotations__})
        values = {name: float(mean.total) / int(mean.count) for name, mean in means.items()}
        return {**values, "count": int(means["loss"].count)}


@flax.struct.dataclass
class ClassMeans(Means):
    """Classification metrics: loss and accuracy."""

    loss: metrics.Average.from_output("loss")
    accuracy: metrics.Average.from_output("correct")


@flax.struct.dataclass
class ManyClassMeans(Means):
    """Classification metrics for many classes: loss, accuracy and top-5 accuracy."""

    loss: metrics.Average.from_output("loss")
    accuracy: metrics.Average.from_output("correct")
    top5_accuracy: metrics.Average.from_output("among_five")


@flax.struct.dataclass
class TargetMeans(Means):
    """Regression metrics: loss, and mean absolute error over examples and entries."""

    loss: metrics.Average.from_output("loss")
    mae: metrics.Average.from_output("error")


def classification_means(
    loss: Loss, logits: jax.Array, labels: jax.Array, mask: jax.Array
) -> ClassMeans | ManyClassMeans:
    """The metrics of a batch.

    Args:
      logits: (batch, classes).
      labels: (batch,), int; or (batch, classes), probabilities, of which the largest is the label.
      mask: (batch,), bool, True for the examples that count.
    """
    classes = labels if labels.ndim == 1 else labels.argmax(axis=1)
    found = {"loss": loss.per_example, "correct": logits.argmax(axis=1) == classes, "mask": mask}
    if logits.shape[1] < TOP_5_FROM:
        return ClassMeans.single_from_model_output(**found)
    among_five = _rank(logits, classes) < 5
    return ManyClassMeans.single_from_model_output(**found, among_five=among_five)


def _rank(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """The rank of the label's logit, (batch,) int from 0; ties go to the first, as in `argmax`."""
    of_label = jnp.take_along_axis(logits, classes[:, None], axis=1)
    earlier = jnp.arange(logits.shape[1]) < classes[:, None]
    before = (logits > of_label) | ((logits == of_label) & earlier) | jnp.isnan(of_label)
    return before.sum(axis=1)


def regression_means(
    loss: Loss, outputs: jax.Array, targets: jax.Array, mask: jax.Array, scale: jax.Array
) -> TargetMeans:
    """The metrics of a batch.

    Args:
      outputs: (batch, entries of a target).
      targets: (batch, …), of any shape.
      mask: (batch,), bool, True for the examples that count.
      scale: of the shape of a target; multiplies errors, to convert them to the data's unit.
    """
    errors = jnp.abs(outputs.reshape(targets.shape) - targets) * scale
    error = errors.reshape(len(targets), -1).mean(axis=1)
    return TargetMeans.single_from_model_output(loss=loss.per_example, error=error, mask=mask)


def means_for(spec: DataSpec) -> Partial:
    """The function (loss, outputs, labels, mask) → metrics for such data."""
    if spec.targets:
        return Partial(regression_means, scale=spec.targets.std)
    return Partial(classification_means)


@flax.struct.dataclass
class Divergence(metrics.Metric):
    """The first step with a non-finite loss or gradient (or NEVER), and its learning rate."""

    step: jax.Array
    learning_rate: jax.Array

    @classmethod
    def of(cls, step, finite, learning_rate) -> "Divergence":
        return cls(jnp.where(finite, NEVER, step), learning_rate)

    def merge(self, other: "Divergence") -> "Divergence":
        earlier = self.step <= other.step
        return jax.tree.map(lambda mine, its: jnp.where(earlier, mine, its), self, other)


class Reading(NamedTuple):
    """The metrics of one trial, on the host.

    Attributes:
      values: the numbers of a training line, by name.
      divergence: (step, learning rate), or None.
      parts: what `TrainMetrics.of_parts` takes, for a checkpoint between two training lines.
    """

    values: dict[str, float]
    divergence: tuple[int, float] | None
    parts: list[float]


@flax.struct.dataclass
class TrainMetrics:
    """Means since the last read, and numbers of the last step, for one run or several trials."""

    means: Means
    last_step: dict[str, jax.Array]  # 'learning_rate', 'grad_norm', …
    divergence: Divergence

    @classmethod
    def none_yet(cls, like: "TrainMetrics") -> "TrainMetrics":
        """Metrics of no step, the identity of `merge`.

        Args:
          like: the metrics of a step, or their shapes and dtypes.
        """
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        never = jnp.full_like(zeros.divergence.step, NEVER)
        return zeros.replace(divergence=zeros.divergence.replace(step=never))

    @classmethod
    def of_parts(cls, parts: Sequence[Sequence[float]], like: "TrainMetrics") -> "TrainMetrics":
        """The metrics that were read as these parts, of each trial; NumPy arrays.

        Args:
          like: metrics with the same structure, shapes and dtypes.
        """
        leaves, structure = jax.tree.flatten(like)
        of_leaf = zip(leaves, zip(*parts, strict=True), strict=True)
        arrays = [np.array(trials, leaf.dtype).reshape(leaf.shape) for leaf, trials in of_leaf]
        return jax.tree.unflatten(structure, arrays)

    def merge(self, other: "TrainMetrics") -> "TrainMetrics":
        """The metrics of these steps followed by those of `other`."""
        return TrainMetrics(
            self.means.merge(other.means),
            other.last_step,
            self.divergence.merge(other.divergence),
        )

    def read(self) -> list[Reading]:
        """One reading per trial, or one for scalar leaves; a single transfer from the device."""
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
    return Reading(values, diverged, [leaf.item() for leaf in jax.tree.leaves(metrics)])


merge = jax.jit(lambda old, new: old.merge(new))
