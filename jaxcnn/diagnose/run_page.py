"""The page of one run: its curves, its answers by class, its settings."""

import base64
import io
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.compare.report import page_of
from jaxcnn.data.dataset import Dataset
from jaxcnn.diagnose.calibration import Calibration
from jaxcnn.diagnose.curves import Curves
from jaxcnn.diagnose.diagnosis import diagnose
from jaxcnn.diagnose.neighbours import pixels_at
from jaxcnn.errors import UserError
from jaxcnn.plots.classes import draw_calibration, draw_confusion
from jaxcnn.plots.curves import curves_of
from jaxcnn.plots.images import image_grid
from jaxcnn.train.confusion import Confusion
from jaxcnn.train.ensemble import probabilities_of
from jaxcnn.train.losses import OF_SOFTMAX
from jaxcnn.train.saved_run import SavedRun, load_run
from jaxcnn.train.workdir import Workdir

_MISTAKES = 24
_NAMES = {
    "accuracy": "accuracy",
    "top5_accuracy": "top-5",
    "mae": "mean absolute error",
    "loss": "loss",
}


def run_page(workdir: str | Path, split: str = "test") -> tuple[str, str]:
    """The HTML page of a run, and what it says first.

    Args:
      split: whose images are looked at.

    Raises:
      UserError: there is no run, no checkpoint or no such split, or its data is gone.
    """
    directory, run = Workdir(workdir), load_run(workdir)
    result = directory.read_result() or {"status": "unfinished", "steps": run.step}
    dataset = run.dataset(split, {})
    lines, name = directory.read_metrics(), run.config.model.name
    known = result.get("best") or {}
    metrics = known[split] if split in known else run.evaluate(split)
    # Without validation images nothing chooses a best checkpoint.
    checkpoint = "best" if run.spec.sizes.get("validation") else "last"
    rows = _results(result) or [(f"{checkpoint} (step {run.step:,}), {split}", metrics)]
    shown = [key for key in _NAMES if key in metrics]
    score = "accuracy" if "accuracy" in metrics else "mae"
    said = (
        f"{metrics[score]:.2%} accuracy" if score == "accuracy" else f"{metrics[score]:.4g} error"
    )
    answer = (
        f"{name}: {said} on {metrics['count']:,} {split} images, by the {checkpoint} checkpoint, of "
        f"step {run.step:,}; {result['status']} after {result['steps']:,} steps."
    )
    page = page_of(
        "run.html",
        title=str(directory.path.absolute().name),
        answer=answer,
        curves=_embedded(curves_of(lines, "", run.step)),
        conditions=_conditions(workdir),
        headings=[*(_NAMES[key] for key in shown), "images"],
        results=[{"name": label, "cells": _cells(values, shown)} for label, values in rows],
        classes=None if run.spec.targets else _classes(run, dataset, split),
        split=split,
        checkpoint=f"{checkpoint} checkpoint (step {run.step:,})",
        command=_command(directory),
        environment=_environment(directory),
        settings=json.dumps(json.loads(directory.config.read_text()), indent=2),
    )
    return page, answer


def _results(result: dict) -> list[tuple[str, dict]]:
    """(label, metrics) of each evaluation in result.json."""
    return [
        (f"{which} (step {result[which]['step']:,}), {split}", values)
        for which in ("best", "final")
        for split, values in (result.get(which) or {}).items()
        if isinstance(values, dict) and "count" in values
    ]


def _cells(values: dict, shown: list[str]) -> list[str]:
    form = {"accuracy": ".2%", "top5_accuracy": ".2%", "mae": ".4g", "loss": ".4f"}
    return [*(f"{values[key]:{form[key]}}" for key in shown), f"{values['count']:,}"]


def _conditions(workdir: str | Path) -> list | None:
    """What `jaxcnn diagnose` says; None of a run with too few lines for that."""
    try:
        return diagnose(Curves.of(workdir))
    except UserError:
        return None


def _classes(run: SavedRun, dataset: Dataset, split: str) -> dict[str, Any]:
    names, probabilities = run.spec.class_names, probabilities_of(run, dataset, split)
    labels = np.asarray(dataset.splits[split].labels)
    confusion = Confusion.of(names, labels, probabilities.argmax(axis=1))
    calibration = Calibration.of(probabilities, labels)
    numbers = (
        calibration.edges,
        calibration.confidence,
        calibration.accuracy,
        calibration.counts,
        calibration.error,
    )
    softmax = run.config.loss.name in OF_SOFTMAX
    return {
        "rows": confusion.rows(),
        "balanced": f"{confusion.balanced_accuracy:.2%}",
        "confusion": _embedded(draw_confusion(confusion.counts, names)),
        "mistakes": _mistakes(dataset, split, probabilities, labels, names),
        "calibration": _embedded(draw_calibration(*numbers)) if softmax else None,
    }


def _mistakes(
    dataset: Dataset,
    split: str,
    probabilities: np.ndarray,
    labels: np.ndarray,
    names: tuple[str, ...],
) -> str | None:
    """The images of which the network was most certain, and wrong."""
    predicted, certain = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-certain[wrong], kind="stable")][:_MISTAKES]
    if not len(worst):
        return None
    pixels = pixels_at(dataset, split, worst)
    scale = 255 if dataset.spec.pixel_dtype == "uint8" else max(float(pixels.max()), 1e-12)
    titles = [f"{names[labels[i]]}\n→ {names[predicted[i]]}\n{certain[i]:.1%}" for i in worst]
    return _embedded(image_grid(pixels / scale, titles, columns=6))


def _embedded(figure: Figure) -> str:
    """A figure as the address of an image within the page."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=130)
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def _command(directory: Workdir) -> str:
    environments = directory.read_environments()
    command = environments[0].get("command", []) if environments else []
    if list(command[1:2]) == ["train"]:
        return shlex.join(["jaxcnn", *command[1:]])
    return "from jaxcnn import train  # with the settings below"


def _environment(directory: Workdir) -> str:
    """What the last start ran on, in a sentence."""
    environments = directory.read_environments()
    if not environments:
        return ""
    last = environments[-1]
    versions = ", ".join(
        f"{name} {version}" for name, version in last["versions"].items() if version
    )
    devices = last["devices"]
    revision = f"; git revision {last['git_revision']}" if last.get("git_revision") else ""
    return f"{len(devices)} device(s): {devices[0]}; Python {last['python']}; {versions}{revision}."
