"""What the whole training loop costs beside the bare compiled step, on the same batches.

    python benchmarks/loop.py

The loop shuffles, augments, normalises and prefetches images, accumulates metrics, writes lines and
TensorBoard events, and saves checkpoints; once with batches that the host makes, and once with data
that lies on the device. The bare step runs over the same batches, which lie there already. All in one
process, in turn. Writes benchmarks/results/.
"""

import argparse
import itertools
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure
from jaxcnn import runtime
from jaxcnn.config import default_config
from jaxcnn.data.dataset import Dataset, dataset_from_arrays
from jaxcnn.train.experiment import Experiment, resolve
from jaxcnn.train.feed import feed_for
from jaxcnn.train.loop import Run
from jaxcnn.train.sharding import make_mesh, replicated
from jaxcnn.train.state import TrainState, init_state
from jaxcnn.train.workdir import Workdir

PLACEMENTS = ("host", "device")


def benchmark_config(model: str, batch_size: int, steps: int, placement: str):
    config = default_config()
    config.model.name = model
    config.data.augment = [
        {"name": "horizontal_flip"},
        {"name": "pad_and_crop"},
        {"name": "cutout"},
    ]
    config.data.placement = placement
    config.data.validation_fraction = 0.0
    config.train.update({"duration": f"{steps} steps", "global_batch_size": batch_size})
    config.log.every = "10 steps"
    config.checkpoint.every = f"{max(1, steps // 2)} steps"
    return resolve(config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20_cifar")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=195, help="steps per round and contestant")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    runtime.prepare()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5_000, 32, 32, 3)).astype(np.uint8)  # CIFAR's shape
    dataset = dataset_from_arrays(
        (images, rng.integers(0, 10, len(images))), validation_fraction=0.0
    )
    mesh, configs, feeds = make_mesh(), {}, {}
    for placement in PLACEMENTS:
        config = configs[placement] = benchmark_config(
            arguments.model, arguments.batch_size, arguments.steps, placement
        )
        experiment = Experiment.of(config, dataset, devices=mesh.size)
        feed = feeds[placement] = feed_for(config, dataset, experiment, mesh)
        feed.compile(experiment.model, experiment.recipe, fresh_state(experiment, dataset, mesh))
    with closing(feeds["host"].train_batches(0)) as endless:
        batches = list(itertools.islice(endless, arguments.steps))

    def bare() -> float:
        state = jax.block_until_ready(fresh_state(experiment, dataset, mesh))
        start = time.perf_counter()
        for batch in batches:
            state, metrics = feeds["host"].train_step(state, batch)
        jax.block_until_ready((state, metrics))
        return time.perf_counter() - start

    def loop(placement: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            directory, config = Workdir(folder), configs[placement]
            directory.create(config, overwrite=False)
            run = Run(config, directory, dataset, mesh, experiment, feeds[placement])
            start = time.perf_counter()
            run.train()
            seconds = time.perf_counter() - start
            run.close()
            return seconds

    contestants = {"bare": bare, **{name: partial(loop, name) for name in PLACEMENTS}}
    for contestant in contestants.values():  # warm up
        contestant()
    seconds = {name: [] for name in contestants}
    for order in measure.in_turn(list(contestants), arguments.rounds):
        for name in order:
            seconds[name].append(contestants[name]())

    count = arguments.steps * arguments.batch_size
    print(f"{arguments.model}, batch {arguments.batch_size}, on {measure.device_name()}")
    print("images/s" + "".join(f"{name:>12}" for name in contestants))
    for row in zip(*seconds.values(), strict=True):
        print(" " * 8 + "".join(f"{count / value:>12,.0f}" for value in row))
    ratios = {}
    for placement in PLACEMENTS:
        ratios[placement] = measure.spread(
            [b / own for b, own in zip(seconds["bare"], seconds[placement], strict=True)]
        )
        summed = sum(seconds["bare"]) / sum(seconds[placement])
        print(
            f"loop/bare, data on the {placement}: median {ratios[placement]['median']:.3f}, "
            f"{ratios[placement]['min']:.3f} to {ratios[placement]['max']:.3f}; "
            f"{summed:.3f} of the summed times"
        )
    measure.save(
        f"loop_{arguments.model}",
        {
            "batch_size": arguments.batch_size,
            "steps": arguments.steps,
            "images_per_second": {
                name: [round(count / value, 1) for value in values]
                for name, values in seconds.items()
            },
            "loop_to_bare_throughput": ratios,
        },
    )


def fresh_state(experiment: Experiment, dataset: Dataset, mesh: Mesh) -> TrainState:
    return init_state(experiment.model, experiment.recipe, dataset.image_shape, 0, replicated(mesh))


if __name__ == "__main__":
    main()
