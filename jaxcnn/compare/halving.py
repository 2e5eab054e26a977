"""Successive halving: all points train for part of the run, and the best of them continue.

Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization".
With a factor η and n points there are ⌊log_η n⌋ + 1 rungs. At every rung but the last, the runs stop at
the first evaluation after their share of the steps. Once all have stopped, the best 1/η resume from
their checkpoints. Every run follows the schedule of a full run from the first step.
"""

import json
import math
from collections.abc import Sequence

from jaxcnn.compare.study import Study, Trial
from jaxcnn.files import write_text
from jaxcnn.train.workdir import ENDED, Workdir

_FILE = "rungs.json"


def shares(points: int, factor: int) -> list[float]:
    """Returns the share of a run's steps at each rung; the last is 1."""
    rungs = 0
    while factor ** (rungs + 1) <= points:
        rungs += 1
    return [factor ** (rung - rungs) for rung in range(rungs + 1)]


def cost(points: int, factor: int) -> float:
    """Returns the cost of a search by halving, in full runs."""
    total, before = 0.0, 0.0
    for share in shares(points, factor):
        total += points * (share - before)
        points, before = max(1, points // factor), share
    return total


def steps_of_rungs(workdir: Workdir) -> list[int]:
    """Returns the step at which a run stopped at each rung so far."""
    file = workdir.path / _FILE
    return json.loads(file.read_text()) if file.exists() else []


def record_rung(workdir: Workdir, rung: int, step: int) -> None:
    """Records the step at which a run stops at a rung."""
    steps = steps_of_rungs(workdir)[:rung]
    write_text(workdir.path / _FILE, json.dumps([*steps, step]) + "\n")


class Halving:
    """The rungs of one arm, given the current results of the study."""

    def __init__(self, study: Study, arm: str, trials: Sequence[Trial]):
        self._study = study
        points = study.points(arm, trials)
        self.shares = shares(len(points), study.comparison.halving)
        self.alive, self.rung = points, 0
        while self.rung < len(self.shares) - 1 and self._all_have_reached():
            left = max(1, len(self.alive) // study.comparison.halving)
            best = sorted(self.alive, key=self._cost)[:left]
            self.alive = {number: self.alive[number] for number in sorted(best)}
            self.rung += 1

    def is_out(self, trial: Trial) -> bool:
        """Whether the trial's point is eliminated."""
        return trial.point not in self.alive

    def waits(self, trial: Trial) -> bool:
        """Whether the trial cannot run now: it is out, or others must reach its rung first."""
        return self.is_out(trial) or self._has_reached(trial)

    def _all_have_reached(self) -> bool:
        return all(self._has_reached(run) for runs in self.alive.values() for run in runs)

    def _has_reached(self, run: Trial) -> bool:
        workdir = self._study.workdir(run)
        result, steps = workdir.read_result(), steps_of_rungs(workdir)
        if result is None:
            return False
        # A worker may have been killed after it recorded the rung and before it saved the run.
        stopped = len(steps) > self.rung and result["steps"] >= steps[self.rung]
        return result["status"] in ENDED or stopped

    def _cost(self, number: int) -> tuple[float, float, int]:
        """Returns the search's objective at this rung, to be minimised."""
        outcomes = []
        for run in self.alive[number]:
            workdir = self._study.workdir(run)
            steps, result = steps_of_rungs(workdir), workdir.read_result()
            last = steps[self.rung] if len(steps) > self.rung else math.inf
            if last < math.inf:
                result = {**result, "status": "stopped"}
            lines = [line for line in workdir.read_metrics() if line["step"] <= last]
            outcomes.append(self._study.outcome_of(result, lines))
        return *self._study.cost(outcomes), number


def rungs_of(study: Study, trials: Sequence[Trial]) -> dict[str, Halving]:
    """Returns the rungs of each arm that is searched by halving, and marks eliminated trials."""
    if not study.comparison.halving:
        return {}
    arms = [arm for arm, settings in study.comparison.arms.items() if settings.space]
    rungs = {arm: Halving(study, arm, trials) for arm in arms}
    for trial in trials:
        if trial.kind == "search" and not study.outcome(trial) and rungs[trial.arm].is_out(trial):
            study.eliminate(trial)
    return rungs
