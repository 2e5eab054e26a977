"""Jobs of several real processes on this machine, and what may befall one of them."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

from jaxcnn.train.saved_run import load_state
from jaxcnn.train.workdir import Workdir
from tests.conftest import ROOT

# Batch normalisation, dropout, momentum, augmentation and an average are all on; a line, an evaluation and a
# checkpoint often. In one process, `FAULT` happens at its third occasion.
CONFIG = '''
import os, signal, time
from jaxcnn.config import default_config
from jaxcnn.errors import UserError
from jaxcnn.train import engine, evaluate, keeping
from jaxcnn import hosts

def befalls(owner, name, act, at=3):
    """Acts before a call of a method."""
    whole, calls = getattr(owner, name), []

    def method(self, *arguments):
        calls.append(name)
        if len(calls) == at:
            act()
        return whole(self, *arguments)

    setattr(owner, name, method)

def fail():
    raise UserError("the image of step 20 cannot be read")

acts = {
    "sigterm": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "sigkill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "error": fail,
    "bug": lambda: 1 / 0,
    "blocks": lambda: time.sleep(600),
}
phases = {
    "start": (keeping.Keeper, "resumed", 1),
    "compile": (engine.Engine, "compile", 1),
    "step": (engine.Engine, "_dispatch", 20),
    "save": (keeping.Keeper, "save_latest", 3),
    "evaluation": (evaluate.Evaluator, "on", 2),
    "finish": (evaluate.Evaluator, "held_out", 1),
}

act, phase, process = (os.environ.get("FAULT") or "none step 0").split()
if act != "none" and int(process) == hosts.agreement.index():
    owner, name, at = phases[phase]
    befalls(owner, name, acts[act], at)

def get_config():
    config = default_config()
    config.model.update({"name": "simple_cnn", "widths": (4, 8), "hidden": 16, "dropout_rate": 0.2})
    config.data.augment = [{"name": "horizontal_flip"}, {"name": "pad_and_crop", "padding": 1}]
    config.averaging.name = "ema"
    config.optimizer.update({"name": "nesterov", "learning_rate": 0.05})
    config.schedule.warmup = "4 steps"
    config.train.update({"duration": "60 steps", "global_batch_size": 32})
    config.eval.every = "15 steps"
    config.log.every = "5 steps"
    config.checkpoint.every = "10 steps"
    return config
'''


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Job:
    """Processes that train together, each with virtual devices of its own."""

    def __init__(self, processes, devices, folder, *arguments, commands=None, **environment):
        """`arguments`: of `jaxcnn train`; `commands`: a prefix for each process's command."""
        address = environment.pop("COORDINATOR", f"127.0.0.1:{free_port()}")
        folder.mkdir(exist_ok=True)
        self.logs = [folder / f"process{i}.log" for i in range(processes)]
        self.processes = []
        for i, log in enumerate(self.logs):
            flags = () if processes == 1 else (
                f"--coordinator={address}", f"--num_processes={processes}", f"--process_id={i}",
            )  # fmt: skip
            command = [sys.executable, "-m", "jaxcnn", "train", *map(str, arguments), *flags]
            with log.open("w") as out:
                self.processes.append(
                    subprocess.Popen(
                        [*(commands[i] if commands else ()), *command],
                        cwd=ROOT,
                        stdout=out,
                        stderr=subprocess.STDOUT,
                        env={
                            **os.environ,
                            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
                            "NPROC": str(4 * devices),
                            **environment,
                        },
                    )
                )

    def wait(self, seconds=120):
        """The exit codes, once all have ended."""
        deadline = time.monotonic() + seconds
        try:
            return [p.wait(max(0.1, deadline - time.monotonic())) for p in self.processes]
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end within {seconds} s:\n{self.output()}") from None
        finally:
            for process in self.processes:
                process.kill()

    def first_end(self, seconds=120):
        """Waits for the first process to end; returns when that was."""
        deadline = time.monotonic() + seconds
        while all(process.poll() is None for process in self.processes):
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.1)
        return time.monotonic()

    def output(self) -> str:
        return "\n".join(f"— process {i}\n{text}" for i, text in enumerate(self.outputs()))

    def outputs(self) -> list[str]:
        return [log.read_text() for log in self.logs]

    def errors(self) -> list[list[str]]:
        """The error lines of each process."""
        return [
            [line for line in text.splitlines() if line.startswith("jaxcnn: error: ")]
            for text in self.outputs()
        ]


def train(processes, devices, tmp_path, name="run", *arguments, **environment) -> Job:
    """Starts the config above in `tmp_path / name`."""
    config = tmp_path / "config.py"
    config.write_text(CONFIG)
    folder = tmp_path / f"logs of {name.replace('/', ' ')}"
    return Job(
        processes, devices, folder, f"--config={config}",
        f"--workdir={tmp_path / name}", *arguments, **environment,
    )  # fmt: skip


def bits(workdir: Path) -> dict:
    """The last state, as arrays on the host."""
    state = load_state(workdir)
    return jax.tree.map(
        lambda leaf: np.asarray(
            jax.random.key_data(leaf) if leaf.dtype == jax.random.key(0).dtype else leaf
        ),
        state,
    )


def assert_same_run(workdir: Path, other: Path, stopped: bool = False) -> None:
    """The same bits, the same lines, each once, and the same result.

    A run that was stopped in order has one line more, and the next one begins there.
    """
    jax.tree.map(np.testing.assert_array_equal, bits(workdir), bits(other))
    lines = [Workdir(path).read_metrics() for path in (workdir, other)]
    for line in (*lines[0], *lines[1]):
        line.pop("examples_per_second", None)
    places = [[(line["step"], line["split"]) for line in each] for each in lines]
    assert len(set(places[1])) == len(places[1])
    assert len(set(places[1]) - set(places[0])) <= stopped
    if stopped:
        lines = [[line for line in each if line["split"] == "validation"] for each in lines]
    assert lines[0] == lines[1]
    results = [json.loads((path / "result.json").read_text()) for path in (workdir, other)]
    for key in ("status", "steps", "best", "final", "parameters"):
        assert results[0][key] == results[1][key]
