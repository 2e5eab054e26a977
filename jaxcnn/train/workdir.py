"""The directory that a run leaves behind: its config, its surroundings, its metrics, its result."""

import errno
import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
from ml_collections import ConfigDict

from jaxcnn import hosts
from jaxcnn.errors import UserError
from jaxcnn.files import write_text
from jaxcnn.train.experiment import resolve

_PACKAGES = (
    "jaxcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "clu", "ml-collections", "numpy",
    "tensorflow", "tensorflow-cpu", "tensorflow-datasets", "scikit-learn",
)  # fmt: skip


class Workdir:
    """Paths and files of one run."""

    # All that a run writes: what `overwrite` removes, and nothing else.
    # The config goes last: a removal that was interrupted leaves no old run that looks like a new one.
    CONTENTS = (
        "result.json",
        "checkpoints",
        "metrics.jsonl",
        "tensorboard",
        "plots",
        "wandb",
        "mlruns",
        "mlflow_run_id",
        "environment.json",
        "config.json",
    )

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.environment = self.path / "environment.json"
        self.metrics = self.path / "metrics.jsonl"
        self.result = self.path / "result.json"
        self.tensorboard = self.path / "tensorboard"
        self.latest = self.path / "checkpoints" / "latest"
        self.best = self.path / "checkpoints" / "best"
        self.curves = self.path / "plots" / "curves.png"

    def check(self) -> None:
        """Refuses what cannot be a workdir.

        Raises:
          UserError: it is a file, or holds checkpoints of a run without a config.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"workdir={self.path} is a file; it takes a directory")
        if self.latest.exists() and not self.config.exists():
            raise UserError(
                f"workdir={self.path} holds checkpoints but no config.json; take another "
                "workdir, or overwrite=True to remove them and start anew"
            )

    def create(self, config: ConfigDict, overwrite: bool) -> None:
        """Makes the directory; writes `config.json`, and this start's entry of `environment.json`."""
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
            raise UserError(f"workdir={self.path} cannot be written: {error.strerror}") from error
        _write_json(self.environment, [*self.read_environments(), environment()])

    def read_environments(self) -> list[dict]:
        """What the run ran on, at each start so far."""
        if not self.environment.exists():
            return []
        stored = json.loads(self.environment.read_text())
        return [stored] if isinstance(stored, dict) else stored  # version 0.1.0 kept the last alone

    def read_config(self) -> ConfigDict:
        """The run's resolved config; settings that it was made without have their defaults.

        Raises:
          UserError: there is no run, or its config.json cannot be read.
        """
        if not self.config.exists():
            raise UserError(f"workdir={self.path} holds no run (there is no config.json in it)")
        try:
            stored = json.loads(self.config.read_text())
        except ValueError as error:
            raise UserError(f"{self.config} cannot be read: {error}") from error
        if not isinstance(stored, dict):
            raise UserError(f"{self.config} holds no config, but {type(stored).__name__}")
        return resolve(ConfigDict(stored))

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
        "processes": hosts.count(),
        "git_revision": _git_revision(),
    }


def _git_revision() -> str | None:
    """The checkout's commit, with '-dirty' where files differ from it; None outside a checkout."""
    folder = str(Path(__file__).parent)
    command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _write_json(path: Path, value: Mapping | list) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")
