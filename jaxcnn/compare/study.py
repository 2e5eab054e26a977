"""The directory of a study: its comparison, the list of trials, and their outcomes.

    DIR/comparison.json          the comparison
    DIR/trials.jsonl             the trials, one per line
    DIR/trials/adam/007/         a trial: the workdir of a run
    DIR/timing/step_seconds.json seconds per step of each arm
    DIR/report.html

The list grows by whole stages. The trials of a stage depend only on the comparison and on the results
of earlier stages, so every worker computes the same lines, however many workers there are.
"""

import json
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxcnn.compare.comparison import Comparison
from jaxcnn.compare.sampling import Point, design, propose
from jaxcnn.compare.scoring import steps_to_target
from jaxcnn.config import differences
from jaxcnn.errors import UserError
from jaxcnn.files import write_text
from jaxcnn.train.workdir import COMPLETE, ENDED, Workdir

FIRST_FRESH_SEED = 1000  # for runs of the best points; the search uses 0, 1, …
_MAY_GROW = ("trials", "seeds")
_ELIMINATED = "eliminated"  # a marker file in the directory of a trial


@dataclass(frozen=True)
class Trial:
    """One run of a study.

    Attributes:
      name: permanent; also the directory of the run in trials/.
      kind: 'default', the untuned arm; 'search', a point of its space; 'best', its best point with a
        fresh seed.
      point: number of the point; None for the untuned arm.
      settings: dotted key → value, as chosen by the search.
    """

    name: str
    arm: str
    kind: str
    point: int | None
    settings: Point
    seed: int


@dataclass(frozen=True)
class Outcome:
    """The outcome of a trial.

    Attributes:
      value: best validation metric of the run; the worst possible if it diverged.
      steps_to_target: step of the first evaluation that reaches the target; inf if none does.
      steps, images, seconds: extent of the training.
      result: content of result.json.
    """

    status: str
    value: float
    steps_to_target: float
    steps: int
    images: int
    seconds: float
    result: dict


class Study:
    """A comparison in a directory."""

    def __init__(self, path: str | Path, comparison: Comparison):
        self.path, self.comparison = Path(path), comparison
        self.step_seconds = self.path / "timing" / "step_seconds.json"
        self._outcomes: dict[str, Outcome] = {}  # of ended trials, which do not change

    @classmethod
    def read(cls, path: str | Path) -> "Study":
        """Reads the study in a directory.

        Raises:
          UserError: the directory holds no study.
        """
        file = Path(path) / "comparison.json"
        if not file.exists():
            raise UserError(f"{path} holds no study (there is no comparison.json in it)")
        return cls(path, Comparison.from_json(json.loads(file.read_text())))

    def open(self) -> "Study":
        """Writes comparison.json, or checks an existing one.

        Raises:
          UserError: the directory holds another study, or cannot be written.
        """
        file = self.path / "comparison.json"
        described = json.loads(json.dumps(self.comparison.to_json()))
        if file.exists():
            _check_same(json.loads(file.read_text()), described, self.path)
        elif self.path.exists() and any(self.path.iterdir()):
            raise UserError(f"workdir={self.path} holds files but no study; use another directory")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(described, indent=2, allow_nan=False) + "\n")
        except PermissionError as error:
            raise UserError(f"workdir={self.path} cannot be written: {error.strerror}") from error
        return self

    def trials(self) -> list[Trial]:
        """Returns the trials listed so far."""
        file = self.path / "trials.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [Trial(**json.loads(line)) for line in lines]

    def extend(self) -> list[Trial]:
        """Lists the next stage if the previous one has ended; returns all trials."""
        trials = self.trials()
        while new := self._next_stage(trials):
            trials += new
            lines = (json.dumps(asdict(trial), allow_nan=False) + "\n" for trial in trials)
            write_text(self.path / "trials.jsonl", "".join(lines))
        return trials

    def workdir(self, trial: Trial) -> Workdir:
        return Workdir(self.path / "trials" / trial.name)

    def outcome(self, trial: Trial) -> Outcome | None:
        """Returns the outcome of a trial; None if it has not ended."""
        if trial.name not in self._outcomes:
            workdir = self.workdir(trial)
            result = workdir.read_result()
            eliminated = (workdir.path / _ELIMINATED).exists()
            if result is None or (result["status"] not in ENDED and not eliminated):
                return None
            self._outcomes[trial.name] = self.outcome_of(result, workdir.read_metrics())
        return self._outcomes[trial.name]

    def eliminate(self, trial: Trial) -> None:
        """Ends a stopped trial that successive halving eliminates."""
        write_text(self.workdir(trial).path / _ELIMINATED, "")

    def points(self, arm: str, trials: Iterable[Trial]) -> dict[int, list[Trial]]:
        """Returns the runs of each point that an arm's search has tried, by point number."""
        points: dict[int, list[Trial]] = {}
        for trial in trials:
            if trial.arm == arm and trial.kind == "search":
                points.setdefault(trial.point, []).append(trial)
        return points

    def cost(self, outcomes: Sequence[Outcome]) -> tuple[float, float]:
        """Returns the search objective, to be minimised, and a tie-breaker: means over a point's runs.

        A diverged run makes both infinite.
        """
        sign = -1 if self.comparison.higher_is_better else 1
        metric = math.fsum(sign * outcome.value for outcome in outcomes) / len(outcomes)
        if self.comparison.select_by == "metric":
            return metric, 0.0
        steps = math.fsum(outcome.steps_to_target for outcome in outcomes)
        return steps / len(outcomes), metric

    def best_point(self, arm: str, trials: Iterable[Trial]) -> int | None:
        """Returns the number of an arm's best point, the first in a tie; None if there is none yet."""
        costs = {}
        for number, runs in self.points(arm, trials).items():
            outcomes = [self.outcome(run) for run in runs]
            if all(outcome and outcome.status in COMPLETE for outcome in outcomes):
                costs[number] = *self.cost(outcomes), number
        return min(costs, key=costs.get, default=None)

    def prune(self, ended: Trial, trials: Iterable[Trial]) -> None:
        """Removes unneeded checkpoints: those of all ended trials except an arm's best."""
        mine = [trial for trial in trials if trial.arm == ended.arm and self.outcome(trial)]
        best = self.best_point(ended.arm, trials)
        for trial in mine:
            workdir = self.workdir(trial)
            if trial.kind == "search" and trial.point != best:
                shutil.rmtree(workdir.path / "checkpoints", ignore_errors=True)
            else:
                shutil.rmtree(workdir.latest, ignore_errors=True)

    def first_stage(self) -> list[Trial]:
        """Returns the untuned arms, and the points that do not depend on results."""
        return [
            trial
            for arm in self.comparison.arms
            for trial in (Trial(f"{arm}/default", arm, "default", None, {}, 0), *self._design(arm))
        ]

    def _next_stage(self, trials: list[Trial]) -> list[Trial]:
        comparison, listed = self.comparison, {trial.name for trial in trials}
        if stage := [trial for trial in self.first_stage() if trial.name not in listed]:
            return stage
        if not all(self.outcome(trial) for trial in trials):
            return []
        if comparison.sampler == "tpe":
            stage = [t for arm in comparison.arms for t in self._proposed(arm, trials)]
        return stage or [
            t for arm in comparison.arms for t in self._best(arm, trials) if t.name not in listed
        ]

    def _design(self, arm: str) -> list[Trial]:
        comparison, space = self.comparison, self.comparison.arms[arm].space
        if not space or comparison.sampler == "tpe":
            return []
        count = comparison.points(arm)
        points = design(comparison.sampler, space, count, comparison.seed, arm)
        return self._search(arm, points, 0)

    def _proposed(self, arm: str, trials: list[Trial]) -> list[Trial]:
        tried, comparison = self.points(arm, trials), self.comparison
        left = comparison.points(arm) - len(tried)
        if left <= 0:
            return []
        settings = [runs[0].settings for runs in tried.values()]
        costs = [self.cost([self.outcome(run) for run in runs]) for runs in tried.values()]
        space = comparison.arms[arm].space
        proposed = propose(space, settings, costs, comparison.seed, arm)
        return self._search(arm, proposed[:left], len(tried))

    def _search(self, arm: str, points: Iterable[Point], first: int) -> list[Trial]:
        seeds = self.comparison.seeds_per_trial
        return [
            Trial(
                f"{arm}/{number:03}" + (f"-seed{seed}" if seeds > 1 else ""),
                arm, "search", number, point, seed,
            )
            for number, point in enumerate(points, first)
            for seed in range(seeds)
        ]  # fmt: skip

    def _best(self, arm: str, trials: list[Trial]) -> list[Trial]:
        """Returns the runs of an arm's best point, or of the untuned arm if it has no space."""
        settings, number, name = {}, None, "default"
        if self.comparison.arms[arm].space:
            number = self.best_point(arm, trials)
            if number is None:
                return []
            name, settings = f"{number:03}", self.points(arm, trials)[number][0].settings
        seeds = range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + self.comparison.seeds)
        return [
            Trial(f"{arm}/{name}-seed{seed}", arm, "best", number, settings, seed) for seed in seeds
        ]

    def outcome_of(self, result: dict, lines: list[dict]) -> Outcome:
        """Returns the outcome of a run from its result and its lines of metrics.jsonl."""
        comparison = self.comparison
        metric, higher = comparison.metric, comparison.higher_is_better
        validation = [line for line in lines if line["split"] == "validation"]
        steps = [line["step"] for line in validation]
        values = [line[metric] for line in validation]
        diverged = result["status"] == "diverged"
        worst = -math.inf if higher else math.inf
        best = (max if higher else min)(values, default=worst)
        reached = steps_to_target(steps, values, comparison.target, higher)
        return Outcome(
            status=result["status"],
            value=worst if diverged else best,
            steps_to_target=math.inf if diverged else reached,
            steps=result["steps"],
            images=result["images"],
            seconds=result["seconds"],
            result=result,
        )


def _check_same(former: dict, described: dict, path: Path) -> None:
    """Rejects a different comparison; more trials or seeds extend a study."""
    if described.get("halving") and described["trials"] > former["trials"]:
        raise UserError(
            f"trials={described['trials']}: the rungs of the study in {path} are for "
            f"{former['trials']} points; use another directory"
        )
    for name in _MAY_GROW:
        if described[name] < former[name]:
            raise UserError(
                f"{name}={described[name]}: the study in {path} has {former[name]}; a study can only "
                "grow"
            )
    lines = differences(_without_numbers(former), _without_numbers(described))
    if lines:
        raise UserError(
            f"workdir={path} holds a study of a different comparison ({'; '.join(lines[:3])}); use "
            "another directory"
        )


def _without_numbers(described: dict) -> dict[str, Any]:
    arms = {
        name: {key: value for key, value in arm.items() if key != "trials"}
        for name, arm in described["arms"].items()
    }
    return {**{k: v for k, v in described.items() if k not in _MAY_GROW}, "arms": arms}
