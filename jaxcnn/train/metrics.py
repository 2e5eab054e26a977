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
class TrainMetrics(metrics.Collection):
    """Means since the last line, and the last step's learning rate and gradient norm."""

    loss: metrics.Average.from_output("loss")
    accuracy: metrics.Average.from_output("correct")
    learning_rate: metrics.LastValue.from_output("learning_rate")
    grad_norm: metrics.LastValue.from_output("grad_norm")
    divergence: Divergence

    def read(self) -> tuple[dict[str, float], tuple[int, float] | None]:
        """Fetches from the device: the one transfer.

        Returns:
          {'loss', 'accuracy', 'learning_rate', 'grad_norm'}, and (step, learning rate) where the run
          diverged.
        """
        own = jax.device_get(self)
        names = ("loss", "accuracy", "learning_rate", "grad_norm")
        values = {name: float(getattr(own, name).compute()) for name in names}
        step = int(own.divergence.step)
        return values, None if step == NEVER else (step, float(own.divergence.learning_rate))


merge = jax.jit(lambda old, new: old.merge(new))
