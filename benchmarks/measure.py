"""Shared by the benchmarks: contestants in separate processes that take turns, the device, results.

A contestant is a process that prints 'ready' once it is warm. To a line with a number it replies
with the seconds that this many steps took. Only one contestant works at a time, and they take
turns, so that a drift in the machine's speed affects all of them alike.
"""

import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import psutil

from jaxcnn.train.workdir import environment

# The contestants share an accelerator's memory; by default JAX preallocates most of it.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

RESULTS = Path(__file__).parent / "results"


class Contestant:
    """A process that takes steps on demand."""

    def __init__(self, command: list[str], **environment: str):
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        for line in self._process.stdout:
            if line == "ready\n":
                return
        raise SystemExit(f"{' '.join(command)} did not start")

    def seconds(self, count: int) -> float:
        """How long this many steps take."""
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait()


class Racer(Contestant):
    """A contestant that is paused, with its workers, except during its turn."""

    def __init__(self, command: list[str]):
        super().__init__(command)
        self._suspend()

    def turn(self, count: int) -> tuple[float, float]:
        """Wall-clock seconds and processor seconds for this many batches."""
        self._resume()
        before = self._processor_seconds()
        seconds = self.seconds(count)
        used = self._processor_seconds() - before
        self._suspend()
        return seconds, used

    def stop(self) -> None:
        self._resume()
        super().stop()

    def _suspend(self) -> None:
        for process in self._processes():
            process.suspend()

    def _resume(self) -> None:
        for process in self._processes():
            process.resume()

    def _processor_seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    def _processes(self) -> list[psutil.Process]:
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]


def serve(steps: Callable[[int], None], warm_up: int = 3) -> None:
    """The contestant's side: warms up, then takes steps on request."""
    steps(warm_up)
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        steps(int(line))
        print(time.perf_counter() - start, flush=True)


def random_batch(shape: tuple[int, int, int], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise images, and labels of ten classes."""
    images = np.random.default_rng(0).normal(size=(size, *shape)).astype(np.float32)
    return images, np.arange(size, dtype=np.int32) % 10


def in_turn(names: list[str], rounds: int) -> Iterator[list[str]]:
    """The order of each round; the contestants take turns to be first."""
    for i in range(rounds):
        shift = i % len(names)
        yield names[shift:] + names[:shift]


def spread(values: list[float], digits: int = 4) -> dict[str, float]:
    """Median, minimum and maximum."""
    numbers = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {key: round(value, digits) for key, value in numbers.items()}


def has_torch() -> bool:
    """Whether PyTorch can take part; its networks and transforms come from torchvision."""
    return all(map(importlib.util.find_spec, ("torch", "torchvision")))


def device_name() -> str:
    """The accelerator's name, or the processor's model and its number of cores."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def save(name: str, result: dict, measured: bool = True) -> None:
    """Writes results/NAME_PLATFORM.json with the device, the versions and the revision.

    Args:
      measured: False for what no device has run; the file is then NAME.json.
    """
    surroundings = environment()
    result = {
        "benchmark": name,
        "device": device_name() if measured else None,
        "versions": surroundings["versions"] | {"torch": _torch_version()},
        "git_revision": surroundings["git_revision"],
        **result,
    }
    platform_name = jax.devices()[0].platform
    out = RESULTS / (f"{name}_{platform_name}.json" if measured else f"{name}.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {os.path.relpath(out)}")
    if measured and platform_name == "cpu" and not (RESULTS / f"{name}_gpu.json").exists():
        print("no GPU has been measured yet")


def _torch_version() -> str | None:
    try:
        import torch
    except ImportError:
        return None
    return torch.__version__
