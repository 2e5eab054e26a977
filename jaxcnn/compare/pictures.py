"""The charts of a report: learning curves, best of k, sensitivity, steps to target, profiles."""

import math
from collections.abc import Iterable

import numpy as np

from jaxcnn.compare.charts import Axis, Series, chart
from jaxcnn.compare.findings import ArmFindings, Findings
from jaxcnn.compare.scoring import LARGEST_RATIO, BestOfK, Profiles

RATE = "optimizer.learning_rate"


def error_of(metric: str, value: float, count: int) -> float:
    """Returns the value to plot on a logarithmic axis: the error rate for an accuracy.

    An error rate of zero is drawn as half an image.
    """
    if not math.isfinite(value):
        return math.inf
    return max(1 - value, 0.5 / count) if metric.endswith("accuracy") else value


def metric_axis(metric: str) -> Axis:
    """Returns the axis for `error_of`."""
    if metric.endswith("accuracy"):
        what = metric.removesuffix("accuracy").replace("_", " ")
        return Axis(f"validation {what}error", log=True)
    return Axis(f"validation {metric}", log=True)


def learning_curves(findings: Findings) -> str:
    """Plots the mean over the retrained runs of each arm, with a band from minimum to maximum."""
    metric = findings.study.comparison.metric
    series = []
    for number, arm in enumerate(findings.arms.values()):
        values: dict[int, list[float]] = {}
        for lines in arm.curves.values():
            for line in lines:
                error = error_of(metric, line[metric], line["count"])
                values.setdefault(line["step"], []).append(error)
        band = [(step, min(found), max(found)) for step, found in sorted(values.items())]
        line = [(step, float(np.mean(found))) for step, found in sorted(values.items())]
        series.append(Series(arm.name, number, line=line, band=band))
    return chart(series, Axis("step", low=0), metric_axis(metric), title="")


def best_of_budget(findings: Findings) -> str:
    """Plots the expected best of k points, with quartiles up to half of the points."""
    metric, series = findings.study.comparison.metric, []
    count = _count(findings)
    for number, arm in enumerate(findings.arms.values()):
        if arm.of_budget is None:
            continue
        drawn = _budget_values(arm)
        if not findings.by_steps:
            drawn = [[error_of(metric, v, count) for v in row] for row in drawn]
        expected, low, high = drawn
        k = range(1, len(expected) + 1)
        band = list(zip(k, low, high, strict=False))
        series.append(Series(arm.name, number, line=list(zip(k, expected, strict=True)), band=band))
    y = Axis("steps to target", log=True) if findings.by_steps else metric_axis(metric)
    return chart(series, Axis("points tried"), y)


def sensitivity(findings: Findings) -> list[str]:
    """Plots the value of each point, per arm with a tuned learning rate, on shared axes."""
    metric, count = findings.study.comparison.metric, _count(findings)
    arms = [
        (number, arm)
        for number, arm in enumerate(findings.arms.values())
        if arm.points and RATE in arm.points[0][0]
    ]
    rates = [settings[RATE] for _, arm in arms for settings, _ in arm.points]
    errors = [
        error_of(metric, outcome.value, count) for _, arm in arms for _, outcome in arm.points
    ]
    # A loss of 0 is drawn at the lower edge.
    finite = [error for error in errors if 0 < error < math.inf]
    if not finite:
        return []
    top = max(finite) * 1.5
    x = Axis("learning rate", log=True, low=min(rates) / 1.3, high=max(rates) * 1.3)
    y = Axis(metric_axis(metric).label, log=True, low=min(finite) / 1.3, high=top)
    charts = []
    for number, arm in arms:
        dots, crosses = [], []
        for settings, outcome in arm.points:
            values = ", ".join(f"{key.split('.')[-1]} {value}" for key, value in settings.items())
            error = error_of(metric, outcome.value, count)
            if math.isfinite(error):
                dots.append((settings[RATE], error, f"{metric} {outcome.value:.4f}: {values}"))
            else:
                crosses.append((settings[RATE], top, f"diverged: {values}"))
        series = Series(arm.name, number, dots=dots, crosses=crosses)
        charts.append(chart([series], x, y, width=330, height=230, title=arm.name))
    return charts


def steps_to_target(findings: Findings) -> str:
    """Plots the steps to the target of each retrained run; a cross at the end if it misses."""
    arms = list(findings.arms.values())
    rows = [(float(-number), arm.name) for number, arm in enumerate(arms)]
    series = []
    for number, arm in enumerate(arms):
        dots, crosses = [], []
        for i, (seed, outcome) in enumerate(arm.retrained.items()):
            reached = outcome.steps_to_target
            y = -number + 0.4 * ((i + 0.5) / len(arm.retrained) - 0.5)  # avoids overlap
            if math.isfinite(reached):
                dots.append((reached, y, f"seed {seed}: step {reached:.0f}"))
            else:
                crosses.append((arm.steps, y, f"seed {seed}: never"))
        mean = arm.mean_to_target
        line = [] if mean is None else [(mean, -number - 0.28), (mean, -number + 0.28)]
        series.append(Series(arm.name, number, line=line, dots=dots, crosses=crosses))
    y = Axis("", low=-len(arms) + 0.4, high=0.6, ticks=rows)
    x = Axis("steps to target; × never", low=0, high=findings.steps)
    widest = max((len(arm.name) for arm in arms), default=0)
    return chart(series, x, y, height=60 + 30 * len(arms), left=20 + 7 * widest)


def profiles(found: Profiles) -> str:
    """Plots the share of workloads on which an arm needs at most τ times the steps of the best."""
    series = []
    for number, name in enumerate(found.competitors):
        profile = found.profiles[name]
        line = [*zip(profile.taus, profile.shares, strict=True)]
        line.append((LARGEST_RATIO, line[-1][1]))
        series.append(Series(name, number, line=line, steps=True))
    x = Axis("τ: steps relative to the best arm", low=1, high=LARGEST_RATIO)
    return chart(series, x, Axis("share of workloads", low=0, high=1.02))


def run_curves(runs: Iterable[tuple[str, list[dict]]], metric: str) -> str:
    """Plots the validation metric of several runs."""
    series = []
    for number, (name, lines) in enumerate(runs):
        validation = [line for line in lines if line["split"] == "validation"]
        points = [(v["step"], error_of(metric, v[metric], v["count"])) for v in validation]
        series.append(Series(name, number, line=points))
    return chart(series, Axis("step", low=0), metric_axis(metric))


def _budget_values(arm: ArmFindings) -> list[list[float]]:
    if isinstance(arm.of_budget, BestOfK):
        return [list(map(float, row)) for row in arm.of_budget[:3]]
    return [list(map(float, arm.of_budget)), [], []]


def _count(findings: Findings) -> int:
    """Returns the number of validation images."""
    for arm in findings.arms.values():
        for lines in arm.curves.values():
            for line in lines:
                return line["count"]
        for _, outcome in arm.points:
            if outcome.result["best"]:
                return outcome.result["best"]["validation"]["count"]
    return 1
