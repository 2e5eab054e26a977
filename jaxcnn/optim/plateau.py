"""Lowers the learning rate when a validation metric stops improving."""

from dataclasses import dataclass


@dataclass
class ReduceOnPlateau:
    """The rule and state of torch.optim.lr_scheduler.ReduceLROnPlateau (threshold_mode='rel').

    optax.contrib.reduce_on_plateau uses the loss of every update, and only minimises.
    """

    metric: str
    factor: float
    patience: int
    threshold: float
    cooldown: int
    final: float
    # The state.
    scale: float = 1.0  # factor of the learning rate
    best: float | None = None
    without_progress: int = 0  # evaluations
    cooling: int = 0  # evaluations left in the cooldown

    def update(self, value: float, higher_is_better: bool) -> bool:
        """Updates the state with the metric of an evaluation; True if it lowers `scale`."""
        if self.best is None:
            better = True
        elif higher_is_better:
            better = value > self.best * (1 + self.threshold)
        else:
            better = value < self.best * (1 - self.threshold)
        self.best = value if better else self.best
        self.without_progress = 0 if better else self.without_progress + 1
        if self.cooling:
            self.cooling -= 1
            self.without_progress = 0
        if self.without_progress <= self.patience:
            return False
        self.cooling, self.without_progress = self.cooldown, 0
        former, self.scale = self.scale, max(self.scale * self.factor, self.final)
        return self.scale < former
