"""What it costs that nothing is lost: seals and syncing in training, and the start of a resumed run.

    python benchmarks/safety.py [--models lenet5 resnet18] [--rounds=5]

A run saves a checkpoint every 5 steps: as it does; without seals and syncing, which is what Orbax
does alone; and not at all but at its end. They take turns. The difference for a checkpoint is then
related to the time of 100 steps; it is an upper bound, since 5 steps hide less of the work in the
background than 100 do. A resumed run reads its newest checkpoint, with and without checking the
seal. Writes benchmarks/results/safety_*.json.
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import jax
import numpy as np
from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure
from jaxcnn import runtime
from jaxcnn.config import default_config
from jaxcnn.data.dataset import Dataset, dataset_from_arrays
from jaxcnn.layout import Layout
from jaxcnn.train import checkpoint, seal
from jaxcnn.train.experiment import resolve
from jaxcnn.train.history import standard_observers
from jaxcnn.train.start import opened
from jaxcnn.train.workdir import Workdir

SHAPES = {"lenet5": (28, 28, 1), "resnet20_cifar": (32, 32, 3), "resnet18": (32, 32, 3)}
EVERY = 5  # steps from checkpoint to checkpoint
RELATED_TO = 100  # steps


@contextmanager
def unsafe():
    """A context without seals and syncing."""
    with (
        mock.patch.object(os, "fsync"),
        mock.patch.object(seal, "seal"),
        mock.patch.object(checkpoint, "check_format"),
    ):
        yield


def of(model: str, batch_size: int, steps: int, every: int) -> ConfigDict:
    config = default_config()
    config.model.name, config.data.placement = model, "device"
    config.data.validation_fraction = 0.0
    config.train.update({"duration": f"{steps} steps", "global_batch_size": batch_size})
    config.checkpoint.every, config.log.every = f"{every} steps", f"{steps} steps"
    return resolve(config)


def train(config: ConfigDict, dataset: Dataset, folder: Path) -> float:
    """The seconds from the first step until the last checkpoint is on disk."""
    directory, layout = Workdir(folder), Layout.over_all_devices()
    with opened(config, directory, standard_observers(directory), dataset, layout) as run:
        run.begin()
        start = time.perf_counter()
        run.train()
        return time.perf_counter() - start


def restore(config: ConfigDict, dataset: Dataset, folder: Path) -> float:
    """The seconds in which a run reads its newest checkpoint."""
    layout = Layout.over_all_devices()
    with opened(config, Workdir(folder), [], dataset, layout) as run:
        start = time.perf_counter()
        jax.block_until_ready(run.restored_or_new().params)
        return time.perf_counter() - start


def compare(model: str, dataset: Dataset, arguments: argparse.Namespace) -> dict:
    steps = arguments.steps
    config = of(model, arguments.batch_size, steps, EVERY)
    once = of(model, arguments.batch_size, steps, steps)
    seconds = {name: [] for name in ("safe", "orbax", "saved once")}
    resumed = {name: [] for name in ("safe", "orbax")}
    for order in [["saved once"], *measure.in_turn(list(seconds), arguments.rounds)]:
        for name in order:
            with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
                contest = once if name == "saved once" else config
                with unsafe() if name == "orbax" else nullcontext():
                    seconds[name].append(train(contest, dataset, Path(folder)))
                    if name in resumed:
                        resumed[name].append(restore(contest, dataset, Path(folder)))
    seconds["saved once"].pop(0)  # the warm-up
    saves, hundred = steps // EVERY, RELATED_TO / steps
    costs = [(a - b) / saves for a, b in zip(seconds["safe"], seconds["orbax"], strict=True)]
    shares = [a / (hundred * b) for a, b in zip(costs, seconds["saved once"], strict=True)]
    ratios = {
        "seconds of 100 steps": measure.spread([hundred * s for s in seconds["saved once"]]),
        "milliseconds for a checkpoint, beyond Orbax": measure.spread([1000 * s for s in costs], 1),
        "share of the time of 100 steps": measure.spread(shares),
        "seconds to read a checkpoint": {name: measure.spread(of) for name, of in resumed.items()},
    }
    print(f"{model}, batch {arguments.batch_size}, {steps} steps, a checkpoint every {EVERY}")
    for what, ratio in ratios.items():
        print(f"  {what}: {ratio}")
    return {"seconds": {name: [round(s, 3) for s in of] for name, of in seconds.items()}, **ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where the runs write (default: the temporary folder)")
    arguments = parser.parse_args()
    runtime.prepare()
    rng, results = np.random.default_rng(0), {}
    for model in arguments.models:
        images = rng.integers(0, 256, (5_000, *SHAPES[model]), np.uint8)
        labels = rng.integers(0, 10, 5_000)
        dataset = dataset_from_arrays((images, labels), validation_fraction=0.0)
        results[model] = compare(model, dataset, arguments)
    settings = {key: getattr(arguments, key) for key in ("batch_size", "steps")}
    measure.save("safety", {**settings, "checkpoint_every": EVERY, "models": results})


if __name__ == "__main__":
    main()
