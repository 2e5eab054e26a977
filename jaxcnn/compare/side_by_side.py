"""Pages that compare several runs, or several studies with one workload each."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from jaxcnn.compare import pictures
from jaxcnn.compare.findings import Findings, findings_of
from jaxcnn.compare.report import answer, page_of, study_page, trials_table
from jaxcnn.compare.scoring import interquartile_mean, performance_profiles
from jaxcnn.compare.study import Study
from jaxcnn.config import differences
from jaxcnn.errors import UserError
from jaxcnn.files import asked_for, write_text
from jaxcnn.train.workdir import Workdir


def report(paths: Sequence[str | Path], to: str | Path | None = None) -> tuple[Path, str]:
    """Writes the page of a study, of several studies with the same arms, or of several runs.

    Args:
      to: path of the page. Defaults to report.html in the directory of a single study, otherwise in
        the current directory.

    Returns:
      The path, and the answer in one or two sentences.

    Raises:
      UserError: a directory holds neither a study nor a run, or they cannot be shown together.
    """
    kinds = {_kind(Path(path)) for path in paths}
    if len(kinds) > 1:
        raise UserError("studies and runs cannot share a page; give directories of one kind")
    if kinds == {"run"}:
        page, summary = _runs_page([Workdir(path) for path in paths])
    else:
        found = [findings_of(Study.read(path)) for path in paths]
        summary = answer(found[0])
        if len(found) == 1:
            to = to or found[0].study.path / "report.html"
            write_text(found[0].study.path / "report.csv", trials_table(found[0].study))
            page = study_page(found[0])
        else:
            page, summary = _studies_page(found)
    target = Path(to or "report.html")
    with asked_for("to", target) as partial:
        partial.write_bytes(page.encode())
    return target, summary


def _kind(path: Path) -> str:
    if (path / "comparison.json").exists():
        return "study"
    if (path / "config.json").exists():
        return "run"
    raise UserError(f"{path} holds neither a study (comparison.json) nor a run (config.json)")


def _studies_page(found: Sequence[Findings]) -> tuple[str, str]:
    """Returns the page of several workloads, with answers, profiles and scores, and its summary."""
    arms = list(found[0].arms)
    for findings in found[1:]:
        if list(findings.arms) != arms:
            raise UserError(
                f"{findings.study.path} compares {', '.join(findings.arms)}, but "
                f"{found[0].study.path} {', '.join(arms)}; studies on one page need the same arms"
            )
    names = _names([findings.study.path for findings in found])
    times = {
        arm: {
            name: _median(findings.arms[arm].to_target)
            for name, findings in zip(names, found, strict=True)
        }
        for arm in arms
    }
    profiles = performance_profiles(times)
    rows = []
    for arm in arms:
        reached = [time for time in times[arm].values() if math.isfinite(time)]
        rows.append({
            "name": arm,
            "score": profiles.profiles[arm].score,
            "iqm": f"{interquartile_mean(reached):.0f}" if reached else "–",
            "reached": f"{len(reached)} of {len(found)}",
            "times": [f"{t:.0f}" if math.isfinite(t) else "never" for t in times[arm].values()],
        })  # fmt: skip
    rows.sort(key=lambda row: -row["score"])
    summary = (
        f"Over {len(found)} workloads, {rows[0]['name']} has the best score, "
        f"{rows[0]['score']:.3f} of 1. "
        f"Scores are relative to the competitors: {', '.join(arms)}."
    )
    page = page_of(
        "studies.html",
        title="Workloads compared",
        answer=summary,
        arms=arms,
        workloads=names,
        rows=rows,
        profiles=Markup(pictures.profiles(profiles)),
        answers=[
            {"name": name, "title": f.study.comparison.title, "answer": answer(f)}
            for name, f in zip(names, found, strict=True)
        ],
    )
    return page, summary


def _median(steps: Sequence[float]) -> float:
    """Returns the median over the retrained runs, with ∞ for a miss; ∞ without runs."""
    return float(np.median(steps)) if steps else math.inf


def _runs_page(workdirs: Sequence[Workdir]) -> tuple[str, str]:
    """Returns the page of several runs, with curves, results and settings, and its summary."""
    names = _names([workdir.path for workdir in workdirs])
    configs = [json.loads(workdir.config.read_text()) for workdir in workdirs]
    keys = sorted({
        line.partition(":")[0].removeprefix("config.")
        for config in configs[1:]
        for line in differences(configs[0], config)
    })  # fmt: skip
    metric = configs[0]["checkpoint"]["best_metric"]
    rows = []
    for name, workdir, config in zip(names, workdirs, configs, strict=True):
        result = workdir.read_result() or {"status": "not ended", "steps": 0, "best": None}
        best = result["best"] or {}
        held_out = [best.get(split) or {} for split in ("validation", "test")]
        rows.append({
            "name": name,
            "status": result["status"],
            "steps": f"{result['steps']:,}",
            "scores": [_number(scores.get(metric)) for scores in held_out],
            "settings": [str(_setting(config, key)) for key in keys],
        })  # fmt: skip
    summary = f"{len(workdirs)} runs, which differ in {', '.join(keys) or 'no setting'}."
    if len(workdirs) == 1:
        summary = f"One run: {rows[0]['status']} after {rows[0]['steps']} steps."
    curves = pictures.run_curves(
        [(n, w.read_metrics()) for n, w in zip(names, workdirs, strict=True)], metric
    )
    page = page_of(
        "runs.html",
        title="Runs compared",
        answer=summary,
        arms=names,
        rows=rows,
        keys=keys,
        metric=metric,
        curves=Markup(curves),
    )
    return page, summary


def _setting(config: dict, key: str):
    """Returns the setting of a dotted key; '–' if the run does not have it."""
    value = config
    for part in key.split("."):
        value = value.get(part, "–") if isinstance(value, dict) else "–"
    return value


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _names(paths: Sequence[Path]) -> list[str]:
    """Returns short names: as many trailing path components as make them distinct."""
    for parts in range(1, max(len(path.absolute().parts) for path in paths)):
        names = ["/".join(path.absolute().parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"the directory {paths[0]} is given twice")
