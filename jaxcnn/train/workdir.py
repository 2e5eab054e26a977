"""The directory of a run: config, environment, metrics, checkpoints and result."""

import errno
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcnn import hosts
from jaxcnn.errors import UserError
from jaxcnn.files import sync, usable_path, write_bytes, write_text
from jaxcnn.train.environment import environment
from jaxcnn.train.experiment import resolve

log = logging.getLogger(__name__)

# 'status' in result.json of a run that came to its end, and of one that does not go on by itself.
COMPLETE = ("completed", "early_stopped")
ENDED = (*COMPLETE, "diverged")


class Workdir:
    """The paths and files of one run."""

    # Everything that a run writes, and all that `overwrite` removes. The config comes last, so that
    # the rest of a partly removed run is never taken for a new one.
    CONTENTS = (
        "result.json",
        "checkpoints",
        "metrics.jsonl",
        "metrics.damaged",
        "tensorboard",
        "plots",
        "report.html",
        "wandb",
        "mlruns",
        "mlflow_run_id",
        "environment.json",
        "log.txt",
        "config.json",
    )

    def __init__(self, path: str | Path):
        """`~` is the home directory.

        Raises:
          UserError: the path is empty, a URL, too long, or the home of a user that does not exist.
        """
        self.path = usable_path("workdir", path)
        self.config = self.path / "config.json"
        self.environment = self.path / "environment.json"
        self.metrics = self.path / "metrics.jsonl"
        self.damaged_metrics = self.path / "metrics.damaged"
        self.result = self.path / "result.json"
        self.log = self.path / "log.txt"
        self.tensorboard = self.path / "tensorboard"
        self.latest = self.path / "checkpoints" / "latest"
        self.best = self.path / "checkpoints" / "best"
        self.snapshots = self.path / "checkpoints" / "snapshots"
        self.curves = self.path / "plots" / "curves.png"

    @classmethod
    def of(cls, path: str | Path) -> "Workdir":
        """The directory of a run of this process and perhaps others, of which only one writes it."""
        return cls(path) if hosts.primary() else Onlooker(path)

    def check(self) -> None:
        """Refuses a path that cannot be a workdir.

        Raises:
          UserError: it is a file, or contains checkpoints but no config.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"workdir={self.path} is a file; it must be a directory")
        if self.latest.exists() and not self.config.exists():
            raise UserError(
                f"workdir={self.path} holds checkpoints but no config.json; use another "
                "workdir, or overwrite=True to remove them and start anew"
            )

    def create(self, config: ConfigDict, overwrite: bool, origin: str = "") -> None:
        """Creates the directory, writes `config.json` and adds an entry to `environment.json`.

        Args:
          origin: where the initial weights come from, which the entry states as 'init_from'.

        Raises:
          UserError: the directory cannot be written.
          OSError: the disk is full.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if overwrite:
                for name in self.CONTENTS:
                    entry = self.path / name
                    is_folder = entry.is_dir() and not entry.is_symlink()
                    shutil.rmtree(entry) if is_folder else entry.unlink(missing_ok=True)
            self._reopen()
            self.write_config(config)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(f"workdir={self.path} cannot be written: {error.strerror}") from error
        entry = environment() | ({"init_from": origin} if origin else {})
        _write_json(self.environment, [*self.read_environments(), entry])

    def _reopen(self) -> None:
        """Removes the result of a run that had ended and goes on: if it dies now, it has not ended."""
        if (result := self.read_result()) and result["status"] in ENDED:
            self.result.unlink()

    def read_environments(self) -> list[dict]:
        """The environment at each start of the run, in order."""
        if not self.environment.exists():
            return []
        stored = _read_json(self.environment, list | dict)
        return [stored] if isinstance(stored, dict) else stored  # version 0.1.0 kept only the last

    def read_config(self) -> ConfigDict:
        """The run's resolved config, with defaults for settings that were added since.

        Raises:
          UserError: there is no run, or its config.json cannot be read.
        """
        if not self.config.exists():
            raise UserError(f"workdir={self.path} holds no run (there is no config.json in it)")
        stored = _read_json(self.config, dict)
        try:
            config = ConfigDict(stored)
        except ValueError as error:  # a name with a dot
            raise UserError(f"{self.config} cannot be read: {error}") from error
        return resolve(config)

    def write_config(self, config: ConfigDict) -> None:
        _write_json(self.config, config.to_dict())

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to resume from, intact or damaged."""
        return any(entry.name.isdigit() for entry in self.latest.glob("*"))

    def write_result(self, result: Mapping) -> None:
        _write_json(self.result, result)

    def read_result(self) -> dict | None:
        """The result of the run, or None if it has not ended.

        Raises:
          UserError: result.json cannot be read.
        """
        if not self.result.exists():
            return None
        result = _read_json(self.result, dict)
        if "status" not in result:
            raise UserError(f"{self.result} is not the result of a run: it has no 'status'")
        return result

    def read_metrics(self) -> list[dict]:
        """The lines of metrics.jsonl, in order; logs a warning if some cannot be read."""
        if not self.metrics.exists():
            return []
        lines, damaged = metric_lines(self.metrics.read_bytes())
        if damaged:
            count = len(lines) + len(damaged)
            log.warning("%s: %d of %d lines cannot be read", self.metrics, len(damaged), count)
        return [line for _, line in lines]

    def sync_metrics(self) -> None:
        """Blocks until the lines so far are on disk: a checkpoint relies on those before it."""
        if self.metrics.exists():
            sync(self.metrics)
            sync(self.path)

    def rewind_metrics(self, step: int, resumes: bool = False) -> None:
        """Removes the lines of metrics.jsonl after a step, and moves damaged ones to metrics.damaged.

        Args:
          resumes: the run is at the checkpoint of this step as it was saved, and will come to the
            rollbacks that led back to it.
        """
        if not self.metrics.exists():
            if step:
                log.warning("%s is missing: the lines up to step %d are lost", self.metrics, step)
            return
        lines, damaged = metric_lines(self.metrics.read_bytes())
        if damaged:
            with self.damaged_metrics.open("ab") as file:
                file.writelines(damaged)
            log.warning(
                "%s: %d of %d lines are damaged; moved to %s",
                self.metrics,
                len(damaged),
                len(lines) + len(damaged),
                self.damaged_metrics.name,
            )

        def stays(line: dict) -> bool:
            last = step - 1 if resumes and line["split"] == "rollback" else step
            return line["step"] <= last

        before = [raw for raw, line in lines if stays(line)]
        write_bytes(self.metrics, b"".join(before))


class Onlooker(Workdir):
    """The directory of a run in a process that leaves its files to the primary one."""

    def __init__(self, path: str | Path):
        super().__init__(path)
        self.log = Path(os.devnull)

    def create(self, config: ConfigDict, overwrite: bool, origin: str = "") -> None:
        pass

    def write_config(self, config: ConfigDict) -> None:
        pass

    def write_result(self, result: Mapping) -> None:
        pass

    def sync_metrics(self) -> None:
        pass


def metric_lines(content: bytes) -> tuple[list[tuple[bytes, dict]], list[bytes]]:
    """The lines of metrics.jsonl, each as it is stored and as a dictionary; and the damaged ones."""
    lines, damaged = [], []
    for raw in content.splitlines(keepends=True):
        try:
            line = json.loads(raw.decode())
            whole = raw.endswith(b"\n") and type(line["step"]) is int and "split" in line
        except (ValueError, TypeError, KeyError):
            whole = False
        if whole:
            lines.append((raw, line))
        else:
            damaged.append(raw)
    return lines, damaged


def _read_json(path: Path, kind: type) -> Any:
    """The content of a JSON file.

    Raises:
      UserError: it is damaged.
    """
    try:
        stored = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}; nothing was changed") from error
    if not isinstance(stored, kind):
        raise UserError(f"{path} must hold a dictionary, not {type(stored).__name__}")
    return stored


def _write_json(path: Path, value: Mapping | list) -> None:
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
