"""Reports the events of a run to its observers, in order."""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from jaxcnn.durations import RunLength
from jaxcnn.train.monitor import Layers
from jaxcnn.train.observers import Observer, Start
from jaxcnn.train.observers.console import Console, ProgressBar
from jaxcnn.train.observers.files import Curves, MetricsFile
from jaxcnn.train.observers.tensorboard import TensorBoard
from jaxcnn.train.workdir import Workdir


def standard_observers(directory: Workdir) -> list[Observer]:
    """The observers of every run: files, TensorBoard, curves, console and progress bar."""
    tensorboard = TensorBoard(directory.tensorboard)
    return [MetricsFile(directory), tensorboard, Curves(directory), Console(), ProgressBar()]


class History:
    """Builds metric lines and passes them to the observers, which may lack any of the methods."""

    def __init__(self, observers: Iterable[Any], length: RunLength):
        self._observers, self._length = list(observers), length
        self._on_steps = self._methods("on_steps")  # looked up once, for the loop

    def follow(self, observer: Any) -> None:
        """Adds an observer, before the start, that is told before the others."""
        self._observers.insert(0, observer)
        self._on_steps = self._methods("on_steps")

    def start(self, start: Start) -> bool:
        """Reports the start; returns whether an observer asks to stop the run."""
        return any(self._tell("on_start", start))

    def steps(self, step: int) -> None:
        for on_steps in self._on_steps:
            on_steps(step)

    def lines(
        self,
        step: int,
        values: dict,
        examples_per_second: float,
        validation: tuple[dict, bool] | None,
        scale: float | None,
        layers: Layers | None,
    ) -> bool:
        """Reports a training line, a validation line after an evaluation, and what layers do.

        If an observer fails, the others still receive the lines before its exception is raised.

        Args:
          values: the training metrics.
          validation: the metrics, and whether they are the best so far; None without an evaluation.
          scale: the learning-rate factor of `reduce_on_plateau`; None without that schedule.
          layers: None where the monitor was not asked.

        Returns:
          Whether an observer asks to stop the run.

        Raises:
          Exception: the first one raised by an observer.
        """
        answers, errors = [], []
        speed = {"examples_per_second": round(examples_per_second, 1)}
        self._tell("on_log", self._line(step, "train", {**values, **speed}), errors=errors)
        if validation:
            metrics, best = validation
            metrics = metrics if scale is None else {**metrics, "learning_rate_scale": scale}
            line = {**self._line(step, "validation", metrics), "best": best}
            answers = self._tell("on_validation", line, errors=errors)
        if layers:
            line = self._line(step, "monitor", layers.numbers)
            self._tell("on_monitor", line, layers.histograms, errors=errors)
        if errors:
            raise errors[0]
        return any(answers)

    def rollback(self, step: int, diverged_at: int, scale: float) -> None:
        """Reports that a run which diverged goes back to a step."""
        found = {"diverged_at": diverged_at, "learning_rate_scale": scale}
        self._tell("on_rollback", self._line(step, "rollback", found))

    def end(self, result: dict) -> None:
        self._tell("on_end", result)

    def close(self) -> None:
        """Closes every observer, even if closing one of them fails."""
        with ExitStack() as stack:
            for close in reversed(self._methods("close")):
                stack.callback(close)

    def _line(self, step: int, split: str, values: dict) -> dict:
        epoch = step * self._length.batch_size / self._length.examples
        return {"step": step, "epoch": round(epoch, 4), "split": split, **values}

    def _tell(self, name: str, *what: Any, errors: list[Exception] | None = None) -> list:
        answers = []
        for method in self._methods(name):
            try:
                answers.append(method(*what))
            except Exception as error:
                if errors is None:
                    raise
                errors.append(error)
        return answers

    def _methods(self, name: str) -> list:
        return [getattr(o, name) for o in self._observers if hasattr(o, name)]
