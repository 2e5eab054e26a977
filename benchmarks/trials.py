"""How many trials an hour: a process for each, or a sweep, by each of its ways.

    python benchmarks/trials.py [--rounds=3] [--trials=16] [--workers=CORES] [--config.KEY=VALUE …]

A trial is LeNet-5 on the digits for 20 epochs with Adam, as in configs/ablations/optimizers_digits.py.
Processes run one after another, or `workers` at a time. A sweep with as many workers runs `trials`
points, the untuned arm and one run of the best point; `shard_map` needs more than one device. Every
command starts anew, so start-up and compilation count. All take turns. Writes
benchmarks/results/trials_*.json.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure

COMPARISON = """
from dataclasses import replace
from jaxcnn.compare import load_comparison

def get_comparison():
    whole = load_comparison("ablations/optimizers_digits")
    return replace(whole, arms={"adam": whole.arms["adam"]}, seeds=1)
"""


def main() -> None:
    on_gpu = jax.default_backend() != "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1 if on_gpu else os.cpu_count())
    arguments, overrides = parser.parse_known_args()
    trials, workers = arguments.trials, arguments.workers
    ways = ["sequential", "vmap", "map"] + ["shard_map"] * (jax.device_count() > 1)
    contestants: dict[str, Callable[[], float]] = {"a process each": partial(alone, 1, overrides)}
    if workers > 1:
        contestants[f"{workers} at a time"] = partial(alone, workers, overrides)
    contestants |= {way: partial(together, way, trials, workers, overrides) for way in ways}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(arguments.rounds):
        for name, contestant in contestants.items():
            seconds[name].append(contestant())
            print(f"{name:16}{seconds[name][-1]:8.2f} s a trial", flush=True)
    one = seconds["a process each"]
    print(f"\n{'':16}{'s a trial':>20}{'an hour':>10}{'times as many':>22}")
    for name, values in seconds.items():
        ratios = [first / value for first, value in zip(one, values, strict=True)]
        hourly = 3600 / statistics.median(values)
        print(f"{name:16}{spread(values):>20}{hourly:>10.0f}{spread(ratios):>22}")
    measure.save("trials", {"seconds a trial": seconds, "trials": trials + 2, "workers": workers})


def alone(at_a_time: int, overrides: list[str]) -> float:
    """The seconds of a trial by `jaxcnn train`, of which some run at a time."""
    with tempfile.TemporaryDirectory() as folder:
        commands = [
            ("train", "--config=digits_lenet", f"--workdir={folder}/{number}",
            "--config.optimizer.name=adam",
            "--config.train.duration=20 epochs", "--config.schedule.warmup=1 epoch",
            "--config.loss.l2_regularization=0", "--config.data.validation_fraction=0.2",
            "--config.data.placement=device", "--config.eval.every=1 epoch",
            "--config.log.every=1 epoch", *overrides)
            for number in range(at_a_time)
        ]  # fmt: skip
        return timed(*commands) / at_a_time


def together(way: str, trials: int, workers: int, overrides: list[str]) -> float:
    """The seconds of a trial among `trials` + 2 of a sweep."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "comparison.py")
        config.write_text(COMPARISON)
        seconds = timed((
            "sweep", f"--workers={workers}", f"--config={config}", f"--workdir={folder}/study",
            f"--way={way}", f"--trials={trials}", f"--pack={trials // workers}", *overrides,
        ))  # fmt: skip
    return seconds / (trials + 2)


def timed(*commands: tuple[str, ...]) -> float:
    """The seconds until all commands, which are started at once, have ended."""
    start = time.perf_counter()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "jaxcnn", *arguments, "--quiet"], stdout=subprocess.DEVNULL
        )
        for arguments in commands
    ]
    assert [process.wait() for process in processes] == [0] * len(processes)
    return time.perf_counter() - start


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


if __name__ == "__main__":
    main()
