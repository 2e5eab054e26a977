"""The results of a study: statistics of each arm and each pair of arms, and warnings."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcnn.compare.scoring import BestOfK, best_so_far, expected_best_of_k
from jaxcnn.compare.statistics import MeanInterval, mean_interval, smallest_sign_flip_p
from jaxcnn.compare.study import Outcome, Study, Trial
from jaxcnn.compare.verdict import Verdict, compare_arms
from jaxcnn.train.workdir import Workdir

EVALUATION = 0.2  # share of the time spent on evaluation that triggers a warning


@dataclass(frozen=True)
class ArmFindings:
    """The results of one arm.

    Attributes:
      points: settings and outcome of each finished run of the search, in order.
      best: settings of the best point; None if there is none yet.
      default: the untuned run; None if it has not ended.
      retrained: the finished runs of the best point, by seed.
      validation, test: metric of the best checkpoints of these runs.
      to_target: steps to the target of each of these runs.
      diverged: number of search runs that diverged.
      images, seconds: cost of the search.
      evaluation: share of the time spent on evaluation.
      step_seconds: seconds per step, timed by itself; None until the study has ended.
      edges: the best settings that lie at an end of their range.
    """

    name: str
    points: list[tuple[dict[str, Any], Outcome]]
    best: dict[str, Any] | None
    default: Outcome | None
    retrained: dict[int, Outcome]
    validation: MeanInterval | None
    test: MeanInterval | None
    to_target: list[float]
    diverged: int
    images: int
    seconds: float
    evaluation: float
    step_seconds: float | None
    edges: list[str]
    of_budget: BestOfK | np.ndarray | None
    curves: dict[int, list[dict]]

    @property
    def steps(self) -> int:
        """The steps of a full run."""
        return max((run.steps for run in self.retrained.values()), default=0)

    @property
    def mean_to_target(self) -> float | None:
        """The mean number of steps to the target; a run that misses it counts with all its steps."""
        counted = [min(steps, self.steps) for steps in self.to_target]
        return sum(counted) / len(counted) if counted else None


@dataclass(frozen=True)
class Findings:
    """The results of a study.

    Attributes:
      ended, listed: numbers of trials.
      steps: steps of a full run.
      verdict: comparison of the arms whose retrained runs have all ended; None for fewer than two.
      resolution: the difference between adjacent values of the objective.
      warnings: full sentences.
    """

    study: Study
    ended: int
    listed: int
    steps: int
    arms: dict[str, ArmFindings]
    verdict: Verdict | None
    resolution: float
    warnings: list[str]

    @property
    def by_steps(self) -> bool:
        """Whether arms are compared by their steps to the target."""
        return self.study.comparison.select_by == "steps_to_target"


def findings_of(study: Study) -> Findings:
    """Returns the results of a study so far."""
    trials = study.trials()
    ended = [trial for trial in trials if study.outcome(trial)]
    arms = {arm: _arm(study, arm, ended) for arm in study.comparison.arms}
    steps = max((study.outcome(trial).steps for trial in ended), default=0)
    resolution = _resolution(study, ended)
    verdict = _verdict(study, arms, steps, resolution)
    warnings = list(_warnings(study, arms, len(ended), len(trials)))
    return Findings(study, len(ended), len(trials), steps, arms, verdict, resolution, warnings)


def objective(study: Study, outcome: Outcome, steps: int) -> float:
    """Returns the value that arms are compared by: the metric, or the steps to the target.

    A run that misses the target counts with all its steps. A diverged run is infinite, and is
    compared as the worst of all runs.
    """
    if study.comparison.select_by == "metric":
        return outcome.value
    return math.inf if outcome.status == "diverged" else min(outcome.steps_to_target, steps)


def _arm(study: Study, arm: str, ended: Sequence[Trial]) -> ArmFindings:
    comparison, space = study.comparison, study.comparison.arms[arm].space
    mine = [trial for trial in ended if trial.arm == arm]
    number = study.best_point(arm, mine)
    best = [t for t in mine if t.kind == "best" and (t.point == number or not space)]
    points = [
        (run.settings, study.outcome(run))
        for runs in study.points(arm, mine).values()
        for run in runs
    ]
    settings = {} if not space else None
    if number is not None:
        settings = study.points(arm, mine)[number][0].settings
    retrained = {trial.seed: study.outcome(trial) for trial in best}
    default = next((study.outcome(trial) for trial in mine if trial.kind == "default"), None)
    searched = [outcome for _, outcome in points]
    return ArmFindings(
        name=arm,
        points=points,
        best=settings,
        default=default,
        retrained=retrained,
        validation=_interval(outcome.value for outcome in retrained.values()),
        test=_interval(_test(outcome, comparison.metric) for outcome in retrained.values()),
        to_target=[outcome.steps_to_target for outcome in retrained.values()],
        diverged=sum(outcome.status == "diverged" for outcome in searched),
        images=sum(outcome.images for outcome in searched),
        seconds=math.fsum(outcome.seconds for outcome in searched),
        evaluation=_evaluation_share(study.workdir(trial) for trial in mine),
        step_seconds=_step_seconds(study).get(arm),
        edges=[
            f"{key}={(settings or {})[key]} is at the {edge} end of its range"
            for key, part in space.items()
            if settings and (edge := part.edge(settings[key]))
        ],
        of_budget=_of_budget(study, searched),
        curves={
            trial.seed: [
                line
                for line in study.workdir(trial).read_metrics()
                if line["split"] == "validation"
            ]
            for trial in best
        },
    )


def _interval(values: Iterable[float]) -> MeanInterval | None:
    values = list(values)
    return mean_interval(values) if values else None


def _test(outcome: Outcome, metric: str) -> float:
    """Returns the test metric of the best checkpoint; NaN if the run diverged or has none."""
    return ((outcome.result["best"] or {}).get("test") or {}).get(metric, math.nan)


def _of_budget(study: Study, searched: list[Outcome]) -> BestOfK | np.ndarray | None:
    """Returns the best objective against the number of points, if each point has one run."""
    comparison = study.comparison
    if not searched or comparison.seeds_per_trial > 1:
        return None
    steps = max(outcome.steps for outcome in searched)
    values = [objective(study, outcome, steps) for outcome in searched]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    higher = comparison.select_by == "metric" and comparison.higher_is_better
    worst = min(finite) if higher else max(finite)
    if comparison.sampler == "tpe" or comparison.halving:  # the points depend on each other
        return best_so_far(values, higher, worst)
    return expected_best_of_k(values, higher, worst)


def _evaluation_share(workdirs: Iterable[Workdir]) -> float:
    timings = [
        json.loads(file.read_text())
        for workdir in workdirs
        if (file := workdir.path / "timing.json").exists()
    ]
    seconds = math.fsum(timing["seconds"] for timing in timings)
    return math.fsum(timing["evaluation"] for timing in timings) / seconds if seconds else 0.0


def _step_seconds(study: Study) -> dict[str, float]:
    file = study.step_seconds
    return json.loads(file.read_text()) if file.exists() else {}


def _resolution(study: Study, ended: Sequence[Trial]) -> float:
    """Returns the resolution of the objective: the evaluation interval, or one image."""
    for trial in ended:
        lines = study.workdir(trial).read_metrics()
        validation = [line for line in lines if line["split"] == "validation"]
        if study.comparison.select_by == "steps_to_target" and len(validation) > 1:
            return float(validation[1]["step"] - validation[0]["step"])
        if study.comparison.metric.endswith("accuracy") and validation:
            return 1 / validation[0]["count"]
    return 0.0


def _verdict(
    study: Study, arms: dict[str, ArmFindings], steps: int, resolution: float
) -> Verdict | None:
    comparison = study.comparison
    values = {
        arm: {seed: objective(study, run, steps) for seed, run in found.retrained.items()}
        for arm, found in arms.items()
        if len(found.retrained) == comparison.seeds
    }
    if len(values) < 2:
        return None
    higher = comparison.select_by == "metric" and comparison.higher_is_better
    seen = [value for by_seed in values.values() for value in by_seed.values()]
    finite = [value for value in seen if math.isfinite(value)] or [0.0]
    worst = float(steps) if comparison.select_by != "metric" else (min if higher else max)(finite)
    return compare_arms(values, higher, worst=worst, resolution=resolution)


def _warnings(study: Study, arms: dict[str, ArmFindings], ended: int, listed: int) -> Iterable[str]:
    comparison = study.comparison
    if ended < listed:
        yield f"The study has not finished: {ended} of {listed} trials have ended."
    counts = {len(study.points(arm, study.trials())) for arm in arms}
    if len(counts) > 1:
        least, most = min(counts), max(counts)
        yield f"The arms were not tuned equally: they have between {least} and {most} points."
    smallest = smallest_sign_flip_p(comparison.seeds)
    if smallest > 0.05:
        yield (
            f"{comparison.seeds} seeds are few: unless differences are assumed to be normal, no "
            f"p-value for two arms can be below {smallest:.4g}."
        )
    for found in arms.values():
        for edge in found.edges:
            yield f"{found.name}: {edge}; a wider range may contain a better point."
        failed = sum(run.status == "diverged" for run in found.retrained.values())
        if failed:
            yield f"{found.name}: {failed} of {len(found.retrained)} runs of its best point diverged."
        if found.points and found.diverged == len(found.points):
            yield f"{found.name}: all of its points diverged."
    shares = {arm: found.evaluation for arm, found in arms.items() if found.evaluation > EVALUATION}
    if shares:
        low, high = min(shares.values()), max(shares.values())
        span = f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}"
        whose = "all arms" if len(shares) == len(arms) else ", ".join(shares)
        yield f"Evaluating and saving took {span} of the time of {whose}."
