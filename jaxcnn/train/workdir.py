"""The directory that a run leaves behind: its config, its surroundings, its metrics, its result."""

import errno
import importlib.metadata
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
from ml_collections import ConfigDict

from jaxcnn.config import default_config, differences
from jaxcnn.errors import UserError
from jaxcnn.tensorflow import tensorflow, tensorflow_installed

log = logging.getLogger(__name__)

_PACKAGES = (
    "jaxcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "clu", "ml-collections", "numpy",
    "tensorflow", "tensorflow-cpu", "tensorflow-datasets", "scikit-learn",
)  # fmt: skip


class Workdir:
    """Paths and files of one run."""

    # All that a run writes: what --overwrite removes, and nothing else.
    # The config goes last: a removal that was interrupted leaves no old run that looks like a new one.
    CONTENTS = (
        "result.json",
        "checkpoints",
        "metrics.jsonl",
        "tensorboard",
        "plots",
        "environment.json",
        "config.json",
    )

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.result = self.path / "result.json"
        self.tensorboard = self.path / "tensorboard"
        self.latest = self.path / "checkpoints" / "latest"
        self.best = self.path / "checkpoints" / "best"
        self.curves = self.path / "plots" / "curves.png"

    def check(self, config: ConfigDict, overwrite: bool) -> None:
        """Refuses a workdir that is not this config's; writes nothing.

        Raises:
          UserError: the directory holds another config's run, or cannot be a workdir.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--workdir={self.path} is a file; it takes a directory")
        if overwrite:
            return
        if not self.config.exists():
            if self.latest.exists():
                raise UserError(
                    f"--workdir={self.path} holds checkpoints but no config.json; take another "
                    "workdir, or --overwrite to remove them and start anew"
                )
            return
        changed = differences(self.read_config().to_dict(), _json_like(config))
        if changed:
            raise UserError(
                f"--workdir={self.path} holds a run of another config ({'; '.join(changed)}); "
                "take another workdir, or --overwrite to remove that run and start anew"
            )

    def create(self, config: ConfigDict, overwrite: bool) -> None:
        """Makes the directory and writes `config.json` and `environment.json`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if overwrite:
                for name in self.CONTENTS:
                    entry = self.path / name
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
            _write_json(self.config, config.to_dict())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(f"--workdir={self.path} cannot be written: {error.strerror}") from error
        _write_json(self.path / "environment.json", environment())

    def read_config(self) -> ConfigDict:
        """The run's resolved config.

        Raises:
          UserError: there is no run, or its config.json cannot be read.
        """
        if not self.config.exists():
            raise UserError(f"--workdir={self.path} holds no run (there is no config.json in it)")
        try:
            stored = json.loads(self.config.read_text())
        except ValueError as error:
            raise UserError(f"{self.config} cannot be read: {error}") from error
        # A run of an earlier version lacks the settings that have come since.
        defaults = default_config().to_dict()
        return ConfigDict(
            {
                key: {**defaults[key], **value} if isinstance(defaults.get(key), dict) else value
                for key, value in {**defaults, **stored}.items()
            }
        )

    def has_checkpoint(self) -> bool:
        """Whether there is one to resume from, whole or damaged."""
        return any(entry.name.isdigit() for entry in self.latest.glob("*"))

    def write_result(self, result: Mapping) -> None:
        _write_json(self.result, result)

    def read_result(self) -> dict | None:
        """The result of a run that ended, or None."""
        return json.loads(self.result.read_text()) if self.result.exists() else None

    def read_metrics(self) -> list[dict]:
        """The lines of metrics.jsonl, in order."""
        if not self.metrics.exists():
            return []
        return list(map(json.loads, self.metrics.read_text().splitlines()))


class MetricsWriter:
    """Appends to metrics.jsonl and to the TensorBoard log."""

    def __init__(self, workdir: Workdir, step: int):
        """Takes back the lines after `step`: a run that resumes there will write them again."""
        if tensorflow_installed():
            tensorflow("TensorBoard")  # which would import it by itself, and give it the GPU
        from tensorboard.summary import Writer

        kept = []
        if workdir.metrics.exists():
            for line in workdir.metrics.read_text().splitlines(keepends=True):
                if line.endswith("\n") and json.loads(line)["step"] <= step:
                    kept.append(line)
            _write_text(workdir.metrics, "".join(kept))
        self._file = workdir.metrics.open("a")
        self._tensorboard = Writer(str(workdir.tensorboard))

    def write(self, step: int, epoch: float, split: str, values: Mapping[str, float]) -> None:
        line = {"step": step, "epoch": round(epoch, 4), "split": split, **values}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._tensorboard.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        self._file.close()
        self._tensorboard.close()


def environment() -> dict:
    """What the run runs on: versions, devices, git revision, command line."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "devices": [device.device_kind for device in jax.devices()],
        "backend": jax.default_backend(),
        "processes": jax.process_count(),
        "git_revision": _git_revision(),
    }


def _git_revision() -> str | None:
    """The checkout's commit, with '-dirty' where files differ from it; None outside a checkout."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
    ]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _json_like(config: ConfigDict) -> dict:
    """The config as reading its JSON gives it: tuples as lists."""
    return json.loads(json.dumps(config.to_dict()))


def _write_json(path: Path, value: Mapping) -> None:
    _write_text(path, json.dumps(value, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    """Under a temporary name first: a file is there whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
