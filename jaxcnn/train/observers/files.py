"""Observers that write metrics.jsonl during a run, and the curves at its end."""

import json
from pathlib import Path

from jaxcnn.plots.curves import draw_curves
from jaxcnn.train.observers.base import Observer, Start
from jaxcnn.train.workdir import Workdir


class MetricsFile(Observer):
    """Appends lines to metrics.jsonl; a resumed run continues from its checkpoint's step."""

    def __init__(self, workdir: Workdir):
        self._workdir, self._file = workdir, None

    def on_start(self, start: Start) -> None:
        """Removes the lines after the starting step, which the run writes again."""
        self._workdir.rewind_metrics(start.step, resumes=True)
        self._file = self._workdir.metrics.open("a")

    def on_log(self, line: dict) -> None:
        self._write(line)

    def on_validation(self, line: dict) -> None:
        self._write({key: value for key, value in line.items() if key != "best"})

    def on_monitor(self, line: dict, histograms: dict) -> None:
        del histograms  # no plain numbers
        self._write(line)

    def on_rollback(self, line: dict) -> None:
        """Removes the lines of the steps that the run takes again."""
        self._file.close()
        self._workdir.rewind_metrics(line["step"])
        self._file = self._workdir.metrics.open("a")
        self._write(line)

    def _write(self, line: dict) -> None:
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Curves(Observer):
    """Draws plots/curves.png at the end, from metrics.jsonl."""

    def __init__(self, workdir: Workdir):
        self._workdir, self._title = workdir, ""

    def on_start(self, start: Start) -> None:
        data = start.config.data
        name = data.get("name") or Path(data.get("root") or data.get("path") or data.source).name
        self._title = f"{start.config.model.name} on {name}"

    def on_end(self, result: dict) -> None:
        draw_curves(
            self._workdir.read_metrics(),
            self._workdir.curves,
            self._title,
            result["best"] and result["best"]["step"],
            stopped_early=result["status"] == "early_stopped",
        )
