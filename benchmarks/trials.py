"""How many trials an hour: a process for each, or many in one process, by each of the ways.

    python benchmarks/trials.py [--rounds=3] [--trials=8] [--config.KEY=VALUE …]

A trial is LeNet-5 on the digits for 20 epochs with Adam, as in configs/ablations/optimizers_digits.py.
Every command starts anew, so start-up and compilation count. All take turns. The ways of one process
run `trials` points, the arm as it comes and one run of the best point; `shard_map` needs more than one
device. Writes benchmarks/results/trials_*.json.
"""

import argparse
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=8)
    arguments, overrides = parser.parse_known_args()
    ways = ["sequential", "vmap", "map"] + ["shard_map"] * (jax.device_count() > 1)
    contestants: dict[str, Callable[[], float]] = {"a process each": partial(alone, overrides)}
    contestants |= {way: partial(together, way, arguments.trials, overrides) for way in ways}
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
    measure.save("trials", {"seconds a trial": seconds, "trials": arguments.trials + 2})


def alone(overrides: list[str]) -> float:
    """The seconds of `jaxcnn train` with the config of such a trial."""
    with tempfile.TemporaryDirectory() as folder:
        return timed(
            "train", "--config=digits_lenet", f"--workdir={folder}/run", "--config.optimizer.name=adam",
            "--config.train.duration=20 epochs", "--config.schedule.warmup=1 epoch",
            "--config.loss.l2_regularization=0", "--config.data.validation_fraction=0.2",
            "--config.data.placement=device", "--config.eval.every=1 epoch",
            "--config.log.every=1 epoch", *overrides,
        )  # fmt: skip


def together(way: str, trials: int, overrides: list[str]) -> float:
    """The seconds of a trial among `trials` + 2 that one process runs."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "comparison.py")
        config.write_text(COMPARISON)
        seconds = timed(
            "sweep", "--worker", f"--config={config}", f"--workdir={folder}/study", f"--way={way}",
            f"--trials={trials}", f"--pack={trials}", *overrides,
        )  # fmt: skip
    return seconds / (trials + 2)


def timed(*arguments: str) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "jaxcnn", *arguments, "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


if __name__ == "__main__":
    main()
