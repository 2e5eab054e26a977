"""Durations of training, in steps, epochs, examples or percent of the run."""

import math
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxcnn.errors import UserError

LARGEST = 10**15  # a number that every float holds exactly


@dataclass(frozen=True)
class Duration:
    """A duration such as '300 steps', '12.5 epochs', '1000000 examples' or '5%' (of the run).

    An epoch is one pass over the training examples. Batches cross epoch boundaries, so an epoch is
    rarely a whole number of steps; `steps` therefore returns a fraction.
    """

    value: Fraction
    unit: str

    UNITS = ("steps", "epochs", "examples", "percent")

    @classmethod
    def parse(cls, text: str, setting: str) -> "Duration":
        """Parses a duration.

        Args:
          setting: the name of the setting, for the error message.

        Raises:
          UserError: `text` is not a number ≥ 0 followed by one of the units.
        """
        number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz% ")
        unit = text.strip()[len(number) :].strip()
        unit = "percent" if unit == "%" else unit if unit.endswith("s") else unit + "s"
        exponent = re.search(r"[eE]\+?(\d+)$", number)
        too_large = len(number) > 40 or (exponent and int(exponent[1]) > 15)
        try:
            value = Fraction(-1 if too_large else number)
        except (ValueError, ZeroDivisionError):
            value = Fraction(-1)
        unit = "percent" if unit == "percents" else unit
        if not 0 <= value <= LARGEST or unit not in cls.UNITS:
            raise UserError(
                f"{setting}={text!r} is not a duration; "
                "valid: '300 steps', '12.5 epochs', '1000000 examples' or '5%', at most 1e15"
            )
        return cls(value, unit)

    def steps(self, examples: int, batch_size: int, run_steps: int | None = None) -> Fraction:
        """The duration in training steps.

        Args:
          examples: size of the training split.
          run_steps: length of the run, needed for a percentage.
        """
        match self.unit:
            case "steps":
                return self.value
            case "epochs":
                return self.value * examples / batch_size
            case "examples":
                return self.value / batch_size
            case "percent":
                return self.value * run_steps / 100


@dataclass(frozen=True)
class Every:
    """A recurring event, due at the first step at or after the end of each period (in steps)."""

    period: Fraction

    def due(self, step: int) -> bool:
        return step // self.period > (step - 1) // self.period

    def next_after(self, step: int) -> int:
        """The next step at which it is due."""
        return max(step + 1, math.ceil((step // self.period + 1) * self.period))


@dataclass(frozen=True)
class Moments:
    """An event at some steps, in order."""

    steps: tuple[int, ...] = ()

    def due(self, step: int) -> bool:
        return step in self.steps

    def next_after(self, step: int) -> int:
        """The next step at which it is due."""
        return next((moment for moment in self.steps if moment > step), LARGEST)


class Due(NamedTuple):
    """What is due after a step; a training line is, whenever one of the others is."""

    line: bool
    validation: bool
    save: bool
    monitor: bool
    snapshot: bool


@dataclass(frozen=True)
class Agenda:
    """When a run of so many steps writes a training line, evaluates, saves and looks at its layers.

    Attributes:
      monitor: None: never.
    """

    steps: int
    log: Every
    eval: Every
    checkpoint: Every
    monitor: Every | None = None
    snapshots: Moments = Moments()

    def next_after(self, step: int) -> int:
        """The next step after which something is due."""
        events = self.log, self.eval, self.checkpoint, self.monitor, self.snapshots
        events = filter(None, events)
        return min(self.steps, *(event.next_after(step) for event in events))

    def due(self, step: int) -> Due:
        """What is due after a step; everything that ever is, after the last one."""
        events = self.eval, self.checkpoint, self.monitor
        validation, save, monitor = (
            bool(event) and (step == self.steps or event.due(step)) for event in events
        )
        snapshot = self.snapshots.due(step)
        line = validation or save or monitor or snapshot or self.log.due(step)
        return Due(line, validation, save or snapshot, monitor, snapshot)


@dataclass(frozen=True)
class RunLength:
    """The length of a run, which converts durations to steps.

    Attributes:
      examples: size of the training split.
      batch_size: examples per step.
      steps: length of the whole run.
      warmup: steps of learning-rate warm-up, included in `steps`.
    """

    examples: int
    batch_size: int
    steps: int
    warmup: int = 0

    @classmethod
    def of(cls, config: ConfigDict, examples: int) -> "RunLength":
        """The length of a run of a resolved config on `examples` training images.

        Raises:
          UserError: the warm-up is not shorter than the run.
        """
        batch_size = config.train.global_batch_size
        duration = Duration.parse(config.train.duration, "config.train.duration")
        run = cls(examples, batch_size, math.ceil(duration.steps(examples, batch_size)))
        warmup = math.ceil(run.stretch(config.schedule.warmup, "config.schedule.warmup"))
        if warmup >= run.steps:
            raise UserError(
                f"config.schedule.warmup={config.schedule.warmup!r} is {warmup} steps, but "
                f"config.train.duration={config.train.duration!r} is a run of {run.steps}; "
                "the warm-up must be shorter than the run"
            )
        return replace(run, warmup=warmup)

    @property
    def steps_after_warmup(self) -> int:
        return self.steps - self.warmup

    def stretch(self, text: str, setting: str) -> Fraction:
        """A duration in steps; a percentage refers to the whole run."""
        return Duration.parse(text, setting).steps(self.examples, self.batch_size, self.steps)

    def period(self, text: str, setting: str) -> Fraction:
        """The period of a recurring event, in steps.

        Raises:
          UserError: the period is 0.
        """
        period = self.stretch(text, setting)
        if period == 0:
            raise UserError(f"{setting}={text!r} must be more than 0")
        return period
