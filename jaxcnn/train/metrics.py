"""Metrics, accumulated on the device and read only where a line is written."""

import flax.struct
import jax
import jax.numpy as jnp
from clu import metrics

from jaxcnn.train.losses import Loss

NEVER = 2**31 - 1

# The metrics that a run can be judged by, and which of them are better when higher.
OF_CLASSES = ("loss", "accuracy")
OF_TARGETS = ("loss", "mae")
HIGHER_IS_BETTER = ("accuracy",)


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
class TargetMeans(Means):
    """Of a regression: the loss, and the mean absolute error over examples and entries."""

    loss: metrics.Average.from_output("loss")
    mae: metrics.Average.from_output("error")


def class_means(loss: Loss, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> ClassMeans:
    """Of a batch; labels are (batch,) numbers or (batch, classes) probabilities."""
    classes = labels if labels.ndim == 1 else labels.argmax(axis=1)
    correct = logits.argmax(axis=1) == classes
    return ClassMeans.single_from_model_output(loss=loss.per_example, correct=correct, mask=mask)


def target_means(scale):
    """Of a batch: a function like `class_means`.

    Args:
      scale: array of a target's shape; errors are multiplied by it, which brings them to the unit that
        the data has.
    """

    def means(loss: Loss, outputs: jax.Array, targets: jax.Array, mask: jax.Array) -> TargetMeans:
        errors = jnp.abs(outputs.reshape(targets.shape) - targets) * scale
        error = errors.reshape(len(targets), -1).mean(axis=1)
        return TargetMeans.single_from_model_output(loss=loss.per_example, error=error, mask=mask)

    return means


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


@flax.struct.dataclass
class TrainMetrics:
    """What a training line says: means since the line before, and the last step's numbers."""

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

    def read(self) -> tuple[dict[str, float], tuple[int, float] | None]:
        """Fetches from the device: the one transfer.

        Returns:
          The means and the last step's numbers, and (step, learning rate) where the run diverged.
        """
        own = jax.device_get(self)
        values = own.means.read()
        values.pop("count")
        values |= {name: float(value) for name, value in own.last_step.items()}
        step = int(own.divergence.step)
        return values, None if step == NEVER else (step, float(own.divergence.learning_rate))


merge = jax.jit(lambda old, new: old.merge(new))
