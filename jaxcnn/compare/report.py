"""The report of a study: a printable page, and a table for other programs.

The page is self-contained, and identical whenever it is generated from the same study.
"""

import csv
import io
import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jaxcnn.compare import pictures
from jaxcnn.compare.comparison import Comparison
from jaxcnn.compare.findings import ArmFindings, Findings
from jaxcnn.compare.statistics import MeanInterval
from jaxcnn.compare.study import Study
from jaxcnn.compare.verdict import Pair

_PAGES = Environment(
    loader=PackageLoader("jaxcnn.compare", "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

_COLUMNS = (
    "trial", "arm", "kind", "settings", "seed", "status", "value", "steps_to_target", "steps",
    "images", "seconds",
)  # fmt: skip
_ARMS_WITH_FEW_PAIRS = 5  # with more, the table of pairs is folded


def study_page(findings: Findings) -> str:
    """Returns the HTML page of one study."""
    comparison = findings.study.comparison
    return page_of(
        "study.html",
        title=comparison.title,
        answer=answer(findings),
        effort=effort(findings),
        warnings=findings.warnings,
        arms=list(findings.arms),
        table=[_row(findings, arm) for arm in findings.arms.values()],
        pairs=_pairs(findings),
        folded=len(findings.arms) > _ARMS_WITH_FEW_PAIRS,
        objective=_objective(comparison),
        target=comparison.target,
        metric=comparison.metric,
        curves=Markup(pictures.learning_curves(findings)),
        to_target=Markup(pictures.steps_to_target(findings)),
        budget=Markup(pictures.best_of_budget(findings)),
        sensitivity=[Markup(svg) for svg in pictures.sensitivity(findings)],
        settings=_settings(findings),
        base=json.dumps(comparison.to_json()["base"], indent=2),
        environment=_environment(findings.study),
        command=_command(findings.study),
        comparison=comparison,
    )


def page_of(template: str, **values: Any) -> str:
    """Renders a page from a template of the package."""
    return _PAGES.get_template(template).render(**values)


def answer(findings: Findings) -> str:
    """Returns which arm is better, by how much and how certainly, in two sentences."""
    comparison, verdict = findings.study.comparison, findings.verdict
    what = _objective(comparison)
    if findings.ended < findings.listed or verdict is None:
        return f"There is no answer yet: {findings.ended} of {findings.listed} trials have ended."
    told = [pair for pair in verdict.pairs if pair.better]
    seeds = f"{comparison.seeds} seeds"
    if verdict.winner:
        closest = min(
            (pair for pair in told if pair.better == verdict.winner),
            key=lambda pair: abs(pair.difference.mean),
        )
        other = closest.second if closest.first == verdict.winner else closest.first
        return (
            f"{verdict.winner} is better than every other arm by {what}, over {seeds}. "
            f"The closest is {other}: the difference is {_difference(findings, closest)}."
        )
    if not told:
        return (
            f"By {what}, no two arms can be told apart with {seeds}. That does not mean that they "
            "are equal: the intervals below show which differences remain possible."
        )
    clearest = min(told, key=lambda pair: pair.p_adjusted)
    worse = clearest.second if clearest.better == clearest.first else clearest.first
    return (
        f"By {what}, {len(told)} of {len(verdict.pairs)} pairs of arms can be told apart with {seeds}, "
        f"and no arm is better than all others. The clearest difference: {clearest.better} is better "
        f"than {worse}, by {_difference(findings, clearest)}."
    )


def effort(findings: Findings) -> str:
    """Returns how much each arm was tuned, in a sentence."""
    comparison = findings.study.comparison
    counts = {arm.name: len(arm.points) for arm in findings.arms.values()}
    seeds = f"{comparison.seeds} fresh seeds"
    if len(set(counts.values())) == 1:
        count = next(iter(counts.values()))
        tuned = f"Each arm had {count} points of its space" if count else "No arm was tuned"
    else:
        tuned = "Points tried: " + ", ".join(f"{arm} {count}" for arm, count in counts.items())
    how = comparison.sampler
    if comparison.halving:
        how += f", successive halving by {comparison.halving}"
    return (
        f"{tuned} ({how}), chosen on the validation split; its best point was trained "
        f"again with {seeds}, and the test split was used only at the end of these runs."
    )


def trials_table(study: Study) -> str:
    """Returns one line per finished trial, as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for trial in study.trials():
        if outcome := study.outcome(trial):
            writer.writerow([
                trial.name, trial.arm, trial.kind, json.dumps(trial.settings), trial.seed,
                outcome.status, outcome.value, outcome.steps_to_target, outcome.steps,
                outcome.images, outcome.seconds,
            ])  # fmt: skip
    return buffer.getvalue()


def _objective(comparison: Comparison) -> str:
    if comparison.select_by == "steps_to_target":
        return f"steps until the validation {comparison.metric} reaches {comparison.target:g}"
    return f"validation {comparison.metric}"


def _difference(findings: Findings, pair: Pair) -> str:
    """Returns the lead of the better arm: '0.0123 (95% interval 0.0081 to 0.0165; p = …)'."""
    found, digits = pair.difference, 1 if findings.by_steps else 4
    ends = sorted([abs(found.low), abs(found.high)])
    unit = " steps" if findings.by_steps else ""
    return (
        f"{abs(found.mean):.{digits}f}{unit} (95% interval {ends[0]:.{digits}f} to "
        f"{ends[1]:.{digits}f}; p = {pair.p_adjusted:.2g} after Holm's correction)"
    )


def _row(findings: Findings, arm: ArmFindings) -> dict[str, Any]:
    """Returns the cells of an arm's row, each with its text and sort key."""
    values = [outcome.value for _, outcome in arm.points]
    higher = findings.study.comparison.higher_is_better
    ordered = sorted(values, reverse=higher)
    reached = [steps for steps in arm.to_target if math.isfinite(steps)]
    missed = len(arm.to_target) - len(reached)
    mean = arm.mean_to_target
    target = "–" if mean is None else f"{mean:.0f}" + (f" ({missed} missed)" if missed else "")
    return {
        "name": arm.name,
        "cells": [
            _cell(ordered[0] if ordered else None),
            _cell(ordered[len(ordered) // 2] if ordered else None),
            _interval_cell(arm.validation),
            _interval_cell(arm.test),
            _cell(arm.default.value if arm.default else None),
            {"text": target, "sort": mean if mean is not None else math.inf},
            _seconds_cell(mean, arm.step_seconds),
            {"text": f"{arm.diverged} of {len(values)}", "sort": arm.diverged},
            {"text": f"{arm.images / 1000:,.0f}k, {arm.seconds:,.0f} s", "sort": arm.images},
        ],
    }


def _cell(value: float | None) -> dict[str, Any]:
    if value is None:
        return {"text": "–", "sort": -1}
    return {"text": f"{value:.4f}" if math.isfinite(value) else "diverged", "sort": value}


def _seconds_cell(steps: float | None, step_seconds: float | None) -> dict[str, Any]:
    if steps is None or step_seconds is None:
        return {"text": "–", "sort": math.inf}
    return {"text": f"{steps * step_seconds:.3g} s", "sort": steps * step_seconds}


def _interval_cell(found: MeanInterval | None) -> dict[str, Any]:
    if found is None or found.mean is None:
        text = (
            "–"
            if found is None or not found.diverged
            else f"{found.diverged} of {found.n} diverged"
        )
        return {"text": text, "sort": -1}
    reach = "" if found.low is None else f" ± {(found.high - found.low) / 2:.4f}"
    return {"text": f"{found.mean:.4f}{reach}", "sort": found.mean}


def _pairs(findings: Findings) -> list[dict[str, Any]]:
    """Returns the rows of the table of pairs, the smallest p-value first."""
    digits, rows = 1 if findings.by_steps else 4, []
    for pair in findings.verdict.pairs if findings.verdict else ():
        found = pair.difference
        known = found.mean is not None
        rows.append({
            "first": pair.first,
            "second": pair.second,
            "difference": f"{found.mean:+.{digits}f}" if known else "a run diverged",
            "interval": (
                f"{found.low:+.{digits}f} to {found.high:+.{digits}f}"
                if known and found.low is not None
                else "–"
            ),
            "sort": pair.p_adjusted,
            "p": f"{pair.p_adjusted:.3f}" if pair.p_adjusted >= 0.001 else "< 0.001",
            "better": pair.better or "–",
        })  # fmt: skip
    return sorted(rows, key=lambda row: row["sort"])


def _settings(findings: Findings) -> list[dict[str, Any]]:
    """Returns the settings, space and best point of each arm."""
    found = []
    for name, arm in findings.study.comparison.arms.items():
        best = findings.arms[name].best
        found.append({
            "name": name,
            "settings": _lines(arm.settings),
            "space": [f"{key}: {_space(space.to_json())}" for key, space in arm.space.items()],
            "source": arm.source,
            "best": _lines(best or {}) or ["untuned" if best == {} else "none"],
        })  # fmt: skip
    return found


def _space(described: Mapping[str, Sequence]) -> str:
    ((kind, values),) = described.items()
    if kind == "choice":
        return "one of " + ", ".join(map(str, values))
    return f"{values[0]:g} to {values[1]:g}" + (", logarithmic" if kind == "log_uniform" else "")


def _lines(settings: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {value}" for key, value in settings.items()]


def _first_start(study: Study) -> dict[str, Any] | None:
    """Returns the environment of the first trial that started."""
    for trial in study.trials():
        for entry in study.workdir(trial).read_environments()[-1:]:
            return entry
    return None


def _environment(study: Study) -> list[str]:
    """Returns devices, versions and the git revision."""
    if (entry := _first_start(study)) is None:
        return []
    versions = [f"{name} {v}" for name, v in entry["versions"].items() if v]
    if revision := entry.get("git_revision"):
        versions.append(f"git {revision[:12]}")
    devices = ", ".join(sorted(set(entry["devices"])))
    return [f"{len(entry['devices'])} × {devices}", f"Python {entry['python']}", *versions]


def _command(study: Study) -> str:
    """Returns the command that ran the study, with only the name of its directory, which may move."""
    entry = _first_start(study)
    words = entry["command"][1:] if entry else []
    kept = [word for word in words if word not in ("--worker", "--quiet")]
    named = [re.sub(r"^--workdir=.*/(?=.)", "--workdir=", word) for word in kept]
    return shlex.join(["jaxcnn", *named]) if "sweep" in named else ""
