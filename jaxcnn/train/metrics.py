"""Metrics, accumulated on the device and read only where a line is written."""

import flax.struct
import jax
import jax.numpy as jnp
from clu import metrics

NEVER = 2**31 - 1


@flax.struct.dataclass
class Divergence(metrics.Metric):
    """The first step at which the loss or the gradient was not finite (or NEVER), and its rate."""

    step: jax.Array
    learning_rate: jax.Array

    @classmethod
    def from_model_output(cls, *, step, finite, learning_rate, **_) -> "Divergence":
        return cls(jnp.where(finite, NEVER, step), learning_rate)

    def merge(self, other: "Divergence") -> "Divergence":
        earlier = self.step <= other.step
        return jax.tree.map(lambda mine, its: jnp.where(earlier, mine, its), self, other)


@flax.struct.dataclass
class EvalMetrics(metrics.Collection):
    """Means over the examples that count, and how many there were."""

    loss: metrics.Average.from_output("loss")
    accuracy: metrics.Average.from_output("correct")

    def read(self) -> dict[str, float | int]:
        """Fetches from the device: the one transfer. {'loss', 'accuracy', 'count'}."""
        loss, accuracy = jax.device_get((self.loss, self.accuracy))
        count = int(accuracy.count)
        return {
            "loss": float(loss.total) / count,
            "accuracy": float(accuracy.total) / count,
            "count": count,
        }


@flax.struct.dataclass
class LastStep(metrics.Metric):
    """The learning rate and the norm of the gradient of the last step."""

    learning_rate: jax.Array
    grad_norm: jax.Array

    @classmethod
    def from_model_output(cls, *, learning_rate, grad_norm, **_) -> "LastStep":
        return cls(learning_rate, grad_norm)

    def merge(self, other: "LastStep") -> "LastStep":
        return other


@flax.struct.dataclass
class TrainMetrics(metrics.Collection):
    """What a training line says: means since the line before, and the last step's numbers."""

    loss: metrics.Average.from_output("loss")
    accuracy: metrics.Average.from_output("correct")
    last_step: LastStep
    divergence: Divergence

    def read(self) -> tuple[dict[str, float], tuple[int, float] | None]:
        """Fetches from the device: the one transfer.

        Returns:
          {'loss', 'accuracy', 'learning_rate', 'grad_norm'}, and (step, learning rate) where the run
          diverged.
        """
        own = jax.device_get(self)
        values = {
            "loss": float(own.loss.compute()),
            "accuracy": float(own.accuracy.compute()),
            "learning_rate": float(own.last_step.learning_rate),
            "grad_norm": float(own.last_step.grad_norm),
        }
        step = int(own.divergence.step)
        return values, None if step == NEVER else (step, float(own.divergence.learning_rate))


merge = jax.jit(lambda old, new: old.merge(new))
