"""The curves of a run, as `diagnosis` reads them."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError
from jaxcnn.train.losses import create_loss
from jaxcnn.train.saved_run import spec_of_run
from jaxcnn.train.workdir import Workdir

log = logging.getLogger(__name__)

FEWEST = 6  # training lines


@dataclass(frozen=True)
class Curves:
    """Numbers by training line, and by evaluation.

    Attributes:
      steps, losses, rates: (lines,), of training; the losses are means since the line before.
      held_out_steps, held_out: (evaluations,), the validation loss.
        With class weights, they are divided by the mean weight, to compare with evaluations.
      neutral: the loss of outputs of 0, ln C for cross-entropy over C classes; of a run without a
        checkpoint, its first loss.
      floor: the least training loss that there can be: with label smoothing, that of the smoothed
        labels themselves.
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
    floor: float
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
        needed = {"train": ("loss", "learning_rate"), "validation": ("loss",), "rollback": ()}
        of_split = {split: _whole(lines, split, keys) for split, keys in needed.items()}
        status, train = result["status"] if result else "unfinished", of_split["train"]
        if status != "diverged" and len(train) < FEWEST:
            raise UserError(
                f"workdir={directory.path} has {len(train)} training lines, too few to tell anything; "
                f"config.log.every={config.log.every!r} can be shorter"
            )

        def column(split: str, key: str) -> np.ndarray:
            return np.array([line[key] for line in of_split[split]], np.float64)

        spec, losses = spec_of_run(directory), column("train", "loss")
        neutral, floor = losses[0] if len(losses) else math.nan, 0.0
        if spec is not None:
            neutral = _neutral_loss(config, spec.outputs, spec.targets is not None)
            floor = _least_loss(config, spec.outputs)
            losses = losses / _mean_weight(config, spec)
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
            floor,
            tuple((line["diverged_at"], line["step"]) for line in of_split["rollback"]),
        )

    @property
    def annealed(self) -> bool:
        """Whether the learning rate ended below a tenth of its peak."""
        return bool(self.rates[-1] < 0.1 * self.rates.max())

    def pooled(self, parts: int) -> tuple[np.ndarray, np.ndarray]:
        """The training losses as means over at most so many equal parts of the run.

        Returns:
          The last step and the mean loss of each part that has lines, (parts,) each.
        """
        part = np.ceil(self.steps / self.steps[-1] * parts)
        first = np.unique(part, return_index=True)[1]
        counts = np.diff(first, append=len(part))
        return self.steps[first + counts - 1], np.add.reduceat(self.losses, first) / counts

    def after(self, share: float) -> np.ndarray:
        """The training losses after a share of the run."""
        return self.losses[self.steps > share * self.steps[-1]]


def _whole(lines: list[dict], split: str, needed: tuple[str, ...]) -> list[dict]:
    """The lines of a split that have these numbers; logs a warning if others do not."""
    of_split = [line for line in lines if line["split"] == split]
    whole = [line for line in of_split if all(_is_number(line.get(key)) for key in needed)]
    if missing := len(of_split) - len(whole):
        log.warning(
            "%d of %d %s lines have no %s; they are left out",
            missing,
            len(of_split),
            split,
            " or ".join(needed),
        )
    return whole


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _mean_weight(config: ConfigDict, spec: DataSpec) -> float:
    """By which class weights multiply the loss of a training image on average."""
    if not config.loss.class_weights:
        return 1.0  # balanced weights have a mean of 1
    return float(np.average(config.loss.class_weights, weights=spec.class_counts)) or 1.0


def _least_loss(config: ConfigDict, outputs: int) -> float:
    smoothing = config.loss.get("label_smoothing", 0.0)
    if not smoothing:
        return 0.0
    off = smoothing / outputs
    label = np.full(outputs, off) + (1 - smoothing) * np.eye(outputs)[0]
    entropy = -(label * np.log(label)).sum()
    if config.loss.name == "sigmoid_cross_entropy":
        entropy -= ((1 - label) * np.log1p(-label)).sum()
    return float(entropy)


def _neutral_loss(config: ConfigDict, outputs: int, targets: bool) -> float:
    loss, count = create_loss(config.loss.to_dict(), train=False), 1000
    zeros, mask = jnp.zeros((count, outputs)), jnp.ones(count, bool)
    labels = jnp.zeros(count, int)
    if targets:  # which have mean 0 and deviation 1
        labels = jnp.asarray(np.random.default_rng(0).normal(size=(count, outputs)), jnp.float32)
    return float(loss(zeros, labels, mask).summed / count)
