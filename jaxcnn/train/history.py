"""What is told of a run, and to whom: its lines, in order, to each of its observers."""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from jaxcnn.durations import RunLength
from jaxcnn.train.observers import Start


class History:
    """Makes lines of numbers and tells them to the observers, who may lack any of the methods."""

    def __init__(self, observers: Iterable[Any], length: RunLength):
        self._observers, self._length = list(observers), length
        self._on_steps = self._methods("on_steps")  # looked up once, for the loop

    def start(self, start: Start) -> None:
        self._tell("on_start", start)

    def steps(self, step: int) -> None:
        for on_steps in self._on_steps:
            on_steps(step)

    def training(self, step: int, values: dict, examples_per_second: float) -> None:
        """A line about training."""
        speed = {"examples_per_second": round(examples_per_second, 1)}
        self._tell("on_log", self._line(step, "train", {**values, **speed}))

    def validation(self, step: int, values: dict, best: bool, scale: float | None) -> bool:
        """A line about an evaluation; True where an observer wants the run to stop."""
        values = values if scale is None else {**values, "learning_rate_scale": scale}
        line = {**self._line(step, "validation", values), "best": best}
        return any(self._tell("on_validation", line))

    def end(self, result: dict) -> None:
        self._tell("on_end", result)

    def close(self) -> None:
        """Closes every observer, also where one of them fails at it."""
        with ExitStack() as stack:
            for close in reversed(self._methods("close")):
                stack.callback(close)

    def _line(self, step: int, split: str, values: dict) -> dict:
        epoch = step * self._length.batch_size / self._length.examples
        return {"step": step, "epoch": round(epoch, 4), "split": split, **values}

    def _tell(self, name: str, *what: Any) -> list:
        return [method(*what) for method in self._methods(name)]

    def _methods(self, name: str) -> list:
        return [getattr(o, name) for o in self._observers if hasattr(o, name)]
