"""What validation changes about a run: a lower learning rate on a plateau, an early end."""

from dataclasses import asdict

from flax.training.early_stopping import EarlyStopping
from ml_collections import ConfigDict

from jaxcnn.optim.plateau import ReduceOnPlateau
from jaxcnn.optim.schedules import Schedule
from jaxcnn.train.metrics import HIGHER_IS_BETTER


class Reactions:
    """Reduction on a plateau and early stopping, as far as a config asks for them, and their state."""

    def __init__(self, config: ConfigDict, schedule: Schedule):
        stopping = config.early_stopping
        self.plateau: ReduceOnPlateau | None = schedule.plateau and schedule.plateau()
        self.stopping: EarlyStopping | None = None
        if stopping.patience:
            # Flax stops at the first evaluation beyond its patience; ours are counted up to the last.
            self.stopping = EarlyStopping(stopping.min_delta, stopping.patience - 1)
        self._stopping_metric = stopping.metric

    @property
    def should_stop(self) -> bool:
        return self.stopping is not None and self.stopping.should_stop

    @property
    def scale(self) -> float | None:
        """The plateau's factor of the learning rate; None where there is no such schedule."""
        return self.plateau and self.plateau.scale

    def take_in(self, values: dict, past_warmup: bool) -> bool:
        """Takes in an evaluation's metrics; True when the learning rate is to be lowered to `scale`."""
        if self.stopping:
            value = values[self._stopping_metric]
            lower_is_better = self._stopping_metric not in HIGHER_IS_BETTER
            self.stopping = self.stopping.update(value if lower_is_better else -value)
        if self.plateau and past_warmup:
            metric = self.plateau.metric
            return self.plateau.update(values[metric], metric in HIGHER_IS_BETTER)
        return False

    def state(self) -> dict:
        """What a checkpoint keeps: JSON."""
        return {
            "plateau": self.plateau and asdict(self.plateau),
            "early_stopping": self.stopping and asdict(self.stopping),
        }

    def restore(self, state: dict) -> None:
        """Goes on from what `state` gave."""
        if self.plateau:
            self.plateau = ReduceOnPlateau(**state["plateau"])
        if self.stopping:
            self.stopping = EarlyStopping(**state["early_stopping"])
