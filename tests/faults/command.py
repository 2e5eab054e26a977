"""Runs of the real command that faults befall, and what they are compared with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from jaxcnn.train.workdir import Workdir
from tests.conftest import ROOT
from tests.train.runs import final_state, is_same, without_time

DEADLINE = 120.0  # seconds in which a process ends, with or without a fault

# The run of an environment variable's name. `FAULT` is 'SIGNAL PHASE': the process signals itself there.
CONFIG = '''
import os, signal
from jaxcnn.config import default_config
from jaxcnn.train import engine, evaluate, keeping, seal, workdir

def befalls(owner, name, at, act, counts=lambda *arguments: True):
    """Acts before the `at`-th call that counts."""
    whole, calls = getattr(owner, name), []

    def method(*arguments, **keywords):
        if counts(*arguments):
            calls.append(name)
            if len(calls) == at:
                act()
        return whole(*arguments, **keywords)

    setattr(owner, name, method)

phases = {
    "start": (keeping.Keeper, "resumed", 1),
    "compile": (engine.Engine, "compile", 1),
    "first step": (engine.Engine, "advance", 1),
    "step": (engine.Engine, "advance", 13),
    "save": (keeping.Keeper, "save_latest", 2),
    "seal": (seal, "seal", 3),
    "after the renaming": (seal, "sync", 3, lambda path: path.name == "latest"),
    "best": (keeping.Keeper, "save_best", 2),
    "evaluation": (evaluate.Evaluator, "on", 2),
    "last evaluation": (evaluate.Evaluator, "held_out", 1),
    "result": (workdir.Workdir, "write_result", 1),
}

if fault := os.environ.get("FAULT"):
    name, phase = fault.split(" ", 1)
    owner, method, at, *counts = phases[phase]
    befalls(owner, method, at, lambda: os.kill(os.getpid(), getattr(signal, name)), *counts)

def base():
    config = default_config()
    config.model.update({"name": "simple_cnn", "widths": (4, 8), "hidden": 16, "dropout_rate": 0.2})
    config.data.augment = [{"name": "pad_and_crop", "padding": 1}]
    config.optimizer.update({"name": "nesterov", "learning_rate": 0.05})
    config.schedule.warmup = "4 steps"
    config.train.update({"duration": "60 steps", "global_batch_size": 32})
    config.eval.every, config.log.every, config.checkpoint.every = "15 steps", "5 steps", "10 steps"
    return config

def of(name):
    config = base()
    if name == "device":
        config.data.placement = "device"
    if name == "swa":
        config.averaging.update({"name": "swa", "start": "50%", "batch_stats": "reestimated"})
    if name == "plateau":
        config.schedule.name, config.averaging.name = "reduce_on_plateau", "ema"
        config.optimizer.name = "adam"
        config.early_stopping.patience = 3
    if name == "fashion_mnist":
        config.data.update({"source": "tfds", "name": "fashion_mnist", "validation_fraction": 0.02})
    if name == "cifar10":
        config.data.update({"source": "tfds", "name": "cifar10", "validation_fraction": 0.02})
        config.data.placement = "device"
    return config

def get_config(name):
    return of(name)
'''
CONFIGS = ("host", "device", "swa", "plateau", "fashion_mnist", "cifar10")
PHASES = (
    "start", "compile", "first step", "step", "save", "seal", "after the renaming", "best", "evaluation",
    "last evaluation", "result",
)  # fmt: skip


@dataclass(frozen=True)
class End:
    """How a process ended; its code is None if it was past the deadline."""

    code: int | None
    output: str
    seconds: float


def start(config: Path, name: str, workdir: Path, *settings: str, **environment: str):
    """Starts `jaxcnn train`."""
    return subprocess.Popen(
        [
            sys.executable, "-m", "jaxcnn", "train", f"--config={config}:{name}", f"--workdir={workdir}",
            "--quiet", *settings,
        ],
        cwd=ROOT, env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def compiled(name: str, folder: Path) -> Path:
    """A C file beside this one as a library to preload; skips the test without a compiler."""
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    library = folder / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def finish(process: subprocess.Popen, signals=()) -> End:
    """Sends the signals, each (after so many seconds, its number), and waits for the end."""
    began = time.monotonic()
    for after, number in signals:
        time.sleep(max(0.0, began + after - time.monotonic()))
        process.send_signal(number)
    try:
        output, _ = process.communicate(timeout=DEADLINE)
        code = process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        output, code = process.communicate()[0], None
    return End(code, output, time.monotonic() - began)


def differences(run: Path, whole: Path) -> list[str]:
    """In which of its files a run differs from an undisturbed one, but for times."""
    one, other = Workdir(run), Workdir(whole)
    found = []
    if without_time(one.read_metrics()) != without_time(other.read_metrics()):
        found.append("metrics.jsonl")
    results = [{**each.read_result(), "seconds": 0} for each in (one, other)]
    if json.dumps(results[0]) != json.dumps(results[1]):
        found.append("result.json")
    if not is_same(final_state(run), final_state(whole)):
        found.append("state")
    return found


SIGNALS = {name: getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGINT")}
