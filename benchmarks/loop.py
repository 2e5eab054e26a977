"""What the whole training loop costs beside the bare compiled step, on the same batches.

    python benchmarks/loop.py

The loop shuffles, augments, normalises and prefetches images, accumulates metrics, writes lines and
TensorBoard events, and saves checkpoints. The bare step runs over the same batches, which lie on the
device already. Both use one compiled program, in one process, in turn. Writes benchmarks/results/.
"""

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure
from jaxcnn import runtime
from jaxcnn.config import default_config
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.data.pipeline import train_batches
from jaxcnn.train.experiment import Experiment, resolve
from jaxcnn.train.loop import Run
from jaxcnn.train.sharding import make_mesh, put_batch, replicated
from jaxcnn.train.state import init_state
from jaxcnn.train.workdir import Workdir


def benchmark_config(model: str, batch_size: int, steps: int):
    config = default_config()
    config.model.name = model
    config.data.augment = [{"name": "horizontal_flip"}, {"name": "pad_and_crop"}]
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
    config = benchmark_config(arguments.model, arguments.batch_size, arguments.steps)
    mesh = make_mesh()
    experiment = Experiment.of(config, dataset, devices=mesh.size)
    batches = [
        put_batch(batch, mesh)
        for batch in itertools.islice(
            train_batches(dataset, experiment.augmentations, arguments.batch_size, config.seed),
            arguments.steps,
        )
    ]

    def bare(train_step) -> float:
        state = init_state(
            experiment.model, experiment.recipe, dataset.image_shape, config.seed, replicated(mesh)
        )
        jax.block_until_ready(state)
        start = time.perf_counter()
        for batch in batches:
            state, metrics = train_step(state, batch)
        jax.block_until_ready((state, metrics))
        return time.perf_counter() - start

    def loop(train_step) -> float:
        with tempfile.TemporaryDirectory() as folder:
            directory = Workdir(folder)
            directory.create(config, overwrite=False)
            run = Run(config, directory, dataset, mesh, experiment)
            start = time.perf_counter()
            run.train(train_step)
            seconds = time.perf_counter() - start
            run.close()
            return seconds

    with tempfile.TemporaryDirectory() as folder:
        Workdir(folder).create(config, overwrite=False)
        first = Run(config, Workdir(folder), dataset, mesh, experiment)
        train_step = first.compile_train_step()
        first.close()
    bare(train_step), loop(train_step)  # warm up
    seconds = []
    for i in range(arguments.rounds):
        order = (
            (bare, loop) if i % 2 == 0 else (loop, bare)
        )  # neither always finds the warmer machine
        measured = {contestant: contestant(train_step) for contestant in order}
        seconds.append((measured[bare], measured[loop]))

    count = arguments.steps * arguments.batch_size
    ratios = [bare_seconds / loop_seconds for bare_seconds, loop_seconds in seconds]
    spread = measure.spread(ratios)
    print(f"{arguments.model}, batch {arguments.batch_size}, on {measure.device_name()}")
    print(f"{'round':>5}{'bare images/s':>16}{'loop images/s':>16}{'loop/bare':>12}")
    for i, ((b, whole), ratio) in enumerate(zip(seconds, ratios, strict=True), start=1):
        print(f"{i:>5}{count / b:>16,.0f}{count / whole:>16,.0f}{ratio:>12.3f}")
    print(f"loop/bare: median {spread['median']:.3f}, {spread['min']:.3f} to {spread['max']:.3f}")
    measure.save(
        f"loop_{arguments.model}",
        {
            "batch_size": arguments.batch_size,
            "steps": arguments.steps,
            "bare_images_per_second": [round(count / b, 1) for b, _ in seconds],
            "loop_images_per_second": [round(count / whole, 1) for _, whole in seconds],
            "loop_to_bare_throughput": spread,
        },
    )


if __name__ == "__main__":
    main()
