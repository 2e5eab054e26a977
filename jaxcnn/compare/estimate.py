"""Estimates how long a study takes, and times a step of each arm, from short runs."""

import json
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from jaxcnn.compare.halving import cost
from jaxcnn.compare.study import Study
from jaxcnn.data.dataset import load_dataset
from jaxcnn.durations import Every, RunLength
from jaxcnn.train.observers.files import MetricsFile
from jaxcnn.train.start import run
from jaxcnn.train.workdir import Workdir

_STEPS = 40  # only the second half is timed


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of a study.

    Attributes:
      trials: number of trials, including the retrained ones.
      seconds: total time with one worker.
      step_seconds: seconds per step, by arm.
    """

    trials: int
    seconds: float
    step_seconds: dict[str, float]


def estimate(study: Study) -> Estimate:
    """Estimates a study from a short run for each network, data and batch size of its arms.

    Training steps and evaluations are included; start-up and compilation are not.
    """
    comparison = study.comparison
    measured: dict[str, tuple[float, float, float]] = {}
    trials, seconds, by_arm = 0, 0.0, {}
    for arm in comparison.arms:
        config = comparison.config(arm)
        key = json.dumps([config[key].to_dict() for key in ("model", "data", "train", "transfer")])
        if key not in measured:
            measured[key] = _measure(config)
        step, evaluation, examples = measured[key]
        length = RunLength.of(config, int(examples))
        every = Every(length.period(config.eval.every, "config.eval.every"))
        evaluations = math.ceil(length.steps / every.period)
        points = comparison.points(arm)
        halved = points and comparison.halving
        whole = cost(points, comparison.halving) if halved else points
        trials += 1 + points * comparison.seeds_per_trial + comparison.seeds
        count = 1 + whole * comparison.seeds_per_trial + comparison.seeds
        seconds += count * (length.steps * step + evaluations * evaluation)
        by_arm[arm] = step
    return Estimate(trials, seconds, by_arm)


def step_seconds(study: Study) -> dict[str, float]:
    """Returns the seconds per step of each untuned arm, measured in a short run by itself.

    The trials cannot provide this: they share a machine with other workers, or a program with other
    trials.
    """
    return {arm: _measure(study.comparison.config(arm))[0] for arm in study.comparison.arms}


def _measure(config: ConfigDict) -> tuple[float, float, float]:
    """Returns seconds per step, seconds per evaluation and the number of training images."""
    dataset = load_dataset(config.data.to_dict()).without("test")
    short = config.copy_and_resolve_references()
    short.train.duration, short.schedule.warmup = f"{_STEPS} steps", "0 steps"
    short.log.every = short.eval.every = f"{_STEPS // 2} steps"
    with tempfile.TemporaryDirectory() as folder:
        workdir, clock = Workdir(Path(folder, "run")), _Clock()
        run(short, workdir, [clock, MetricsFile(workdir)], dataset)
        lines = [line for line in workdir.read_metrics() if line["split"] == "train"]
    batch_size = config.train.global_batch_size
    step = batch_size / lines[-1]["examples_per_second"]
    return step, clock.evaluation, dataset.spec.sizes["train"]


class _Clock:
    """Times the last evaluation."""

    evaluation = 0.0

    def on_steps(self, step: int) -> None:
        self._last_step = time.perf_counter()

    def on_validation(self, line: dict) -> None:
        self.evaluation = time.perf_counter() - self._last_step
