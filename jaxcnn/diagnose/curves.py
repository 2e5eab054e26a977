"""The curves of a run, as `diagnosis` reads them."""

import math
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.errors import UserError
from jaxcnn.train.losses import create_loss
from jaxcnn.train.saved_run import spec_of_run
from jaxcnn.train.workdir import Workdir

FEWEST = 6  # training lines


@dataclass(frozen=True)
class Curves:
    """Numbers by training line, and by evaluation.

    Attributes:
      steps, losses, rates: (lines,), of training; the losses are means since the line before.
      held_out_steps, held_out: (evaluations,), the validation loss.
      neutral: the loss of outputs of 0, ln C for cross-entropy over C classes; of a run without a
        checkpoint, its first loss.
      total: steps that the config asks for.
      rollbacks: (diverged at step, back at step) of each.
    """

    workdir: Path
    config: ConfigDict
    status: str
    steps: np.ndarray
    losses: np.ndarray
    rates: np.ndarray
    held_out_steps: np.ndarray
    held_out: np.ndarray
    neutral: float
    rollbacks: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, workdir: str | Path) -> "Curves":
        """The curves of a run, finished or not.

        Raises:
          UserError: there is no run, or it has too few training lines.
        """
        directory = Workdir(workdir)
        config, result = directory.read_config(), directory.read_result()
        lines = directory.read_metrics()
        of_split = {
            split: [line for line in lines if line["split"] == split]
            for split in ("train", "validation", "rollback")
        }
        status, train = result["status"] if result else "unfinished", of_split["train"]
        if status != "diverged" and len(train) < FEWEST:
            raise UserError(
                f"workdir={directory.path} has {len(train)} training lines, too few to tell anything; "
                f"config.log.every={config.log.every!r} can be shorter"
            )

        def column(split: str, key: str) -> np.ndarray:
            return np.array([line[key] for line in of_split[split]], np.float64)

        spec, losses = spec_of_run(directory), column("train", "loss")
        neutral = losses[0] if len(losses) else math.nan
        if spec is not None:
            neutral = _neutral_loss(config, spec.outputs, spec.targets is not None)
        return cls(
            directory.path,
            config,
            status,
            column("train", "step"),
            losses,
            column("train", "learning_rate"),
            column("validation", "step"),
            column("validation", "loss"),
            float(neutral),
            tuple((line["diverged_at"], line["step"]) for line in of_split["rollback"]),
        )

    @property
    def annealed(self) -> bool:
        """Whether the learning rate ended below a tenth of its peak."""
        return bool(self.rates[-1] < 0.1 * self.rates.max())

    def after(self, share: float) -> np.ndarray:
        """The training losses after a share of the run."""
        return self.losses[self.steps > share * self.steps[-1]]


def _neutral_loss(config: ConfigDict, outputs: int, targets: bool) -> float:
    loss, count = create_loss(config.loss.to_dict(), train=False), 1000
    zeros, mask = jnp.zeros((count, outputs)), jnp.ones(count, bool)
    labels = jnp.zeros(count, int)
    if targets:  # which have mean 0 and deviation 1
        labels = jnp.asarray(np.random.default_rng(0).normal(size=(count, outputs)), jnp.float32)
    return float(loss(zeros, labels, mask).summed / count)
