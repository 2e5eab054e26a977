"""Decisions from validation metrics: best checkpoint, plateau reductions, early stopping."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple

from flax.training.early_stopping import EarlyStopping
from ml_collections import ConfigDict

from jaxcnn.errors import UserError
from jaxcnn.optim.plateau import ReduceOnPlateau
from jaxcnn.optim.schedule import Schedule
from jaxcnn.train.metrics import HIGHER_IS_BETTER, is_better


class DivergedError(UserError):
    """The loss, the gradient or the weights are no longer finite.

    Attributes:
      step: the first at which this was seen.
    """

    exit_code = 76  # a scheduler that restarts on 75 does not repeat it

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


class Verdict(NamedTuple):
    """The result of one evaluation: best so far; reduce the learning rate."""

    best: bool
    reduce: bool


class Judge:
    """Decides after each evaluation, on the host; its state is saved in checkpoints."""

    def __init__(self, config: ConfigDict, schedule: Schedule):
        stopping = config.early_stopping
        self.best: dict | None = None  # the metrics of the best evaluation so far
        self._best_metric = config.checkpoint.best_metric
        self._plateau = schedule.plateau and ReduceOnPlateau(**asdict(schedule.plateau))
        self._stopping: EarlyStopping | None = None
        if stopping.patience:
            # Flax stops one evaluation after its patience is used up; ours stops with the last one.
            self._stopping = EarlyStopping(stopping.min_delta, stopping.patience - 1)
        self._stopping_metric = stopping.metric

    @property
    def should_stop(self) -> bool:
        return self._stopping is not None and self._stopping.should_stop

    @property
    def scale(self) -> float | None:
        """The learning-rate factor of `reduce_on_plateau`; None without that schedule."""
        return self._plateau and self._plateau.scale

    def judge(self, values: dict, past_warmup: bool) -> Verdict:
        """Judges the metrics of an evaluation and updates the state; call once per evaluation."""
        reduce = False
        best = self.best is None or is_better(self._best_metric, values, self.best)
        if best:
            self.best = values
        if self._stopping:
            value = values[self._stopping_metric]
            lower_is_better = self._stopping_metric not in HIGHER_IS_BETTER
            self._stopping = self._stopping.update(value if lower_is_better else -value)
        if self._plateau and past_warmup:
            metric = self._plateau.metric
            reduce = self._plateau.update(values[metric], metric in HIGHER_IS_BETTER)
        return Verdict(best, reduce)

    def state(self) -> dict:
        """The state as JSON, for a checkpoint."""
        return {
            "plateau": self._plateau and asdict(self._plateau),
            "early_stopping": self._stopping and asdict(self._stopping),
        }

    def restore(self, state: dict) -> None:
        """Restores the result of `state`."""
        if self._plateau:
            self._plateau = ReduceOnPlateau(**state["plateau"])
        if self._stopping:
            self._stopping = EarlyStopping(**state["early_stopping"])


def non_finite_loss(evaluated: Mapping[str, Mapping]) -> str | None:
    """'the validation loss', or that of another split, if it is not finite."""
    wrong = (split for split, values in evaluated.items() if not math.isfinite(values["loss"]))
    return next((f"the {split} loss" for split in wrong), None)


def divergence_advice(what: str, step: int, learning_rate: float, saved: int | None) -> str:
    """The message for a non-finite loss or array; `saved`: the step of the last checkpoint."""
    return (
        f"{what} became NaN or infinite at step {step} (learning rate {learning_rate:.3g}); "
        "try a smaller config.optimizer.learning_rate or a longer config.schedule.warmup; "
        + (f"the checkpoint of step {saved} is kept" if saved else "no checkpoint was saved yet")
    )
