"""The directory of a run: config, environment, metrics, checkpoints and result."""

import errno
import importlib.metadata
import json
import os
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
from jaxcnn.files import usable_path, write_text
from jaxcnn.train.experiment import resolve

_PACKAGES = (
    "jaxcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "clu", "ml-collections", "numpy",
    "tensorflow", "tensorflow-cpu", "tensorflow-datasets", "scikit-learn",
)  # fmt: skip


class Workdir:
    """The paths and files of one run."""

    # Everything that a run writes, and all that `overwrite` removes. The config comes last, so that
    # the rest of a partly removed run is never taken for a new one.
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
        self.result = self.path / "result.json"
        self.log = self.path / "log.txt"
        self.tensorboard = self.path / "tensorboard"
        self.latest = self.path / "checkpoints" / "latest"
        self.best = self.path / "checkpoints" / "best"
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

    def create(self, config: ConfigDict, overwrite: bool) -> None:
        """Creates the directory, writes `config.json` and adds an entry to `environment.json`.

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
            self.write_config(config)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(f"workdir={self.path} cannot be written: {error.strerror}") from error
        _write_json(self.environment, [*self.read_environments(), environment()])

    def read_environments(self) -> list[dict]:
        """The environment at each start of the run, in order."""
        if not self.environment.exists():
            return []
        stored = json.loads(self.environment.read_text())
        return [stored] if isinstance(stored, dict) else stored  # version 0.1.0 kept only the last

    def read_config(self) -> ConfigDict:
        """The run's resolved config, with defaults for settings that were added since.

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
            raise UserError(f"{self.config} must hold a dictionary, not {type(stored).__name__}")
        return resolve(ConfigDict(stored))

    def write_config(self, config: ConfigDict) -> None:
        _write_json(self.config, config.to_dict())

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to resume from, intact or damaged."""
        return any(entry.name.isdigit() for entry in self.latest.glob("*"))

    def write_result(self, result: Mapping) -> None:
        _write_json(self.result, result)

    def read_result(self) -> dict | None:
        """The result of the run, or None if it has not ended."""
        return json.loads(self.result.read_text()) if self.result.exists() else None

    def read_metrics(self) -> list[dict]:
        """The lines of metrics.jsonl, in order."""
        if not self.metrics.exists():
            return []
        return list(map(json.loads, self.metrics.read_text().splitlines()))


class Onlooker(Workdir):
    """The directory of a run in a process that leaves its files to the primary one."""

    def __init__(self, path: str | Path):
        super().__init__(path)
        self.log = Path(os.devnull)

    def create(self, config: ConfigDict, overwrite: bool) -> None:
        pass

    def write_config(self, config: ConfigDict) -> None:
        pass

    def write_result(self, result: Mapping) -> None:
        pass


def environment() -> dict:
    """The environment as JSON: versions, devices, git revision, command line."""
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
        "xla_flags": os.environ.get("XLA_FLAGS"),
        "processes": hosts.count(),
        "git_revision": _git_revision(),
    }


def _git_revision() -> str | None:
    """The commit of the checkout, with '-dirty' if files differ; None outside a checkout."""
    folder = str(Path(__file__).parent)
    command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _write_json(path: Path, value: Mapping | list) -> None:
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
