"""The cost of the whole training loop relative to the bare compiled step, on the same batches.

    python benchmarks/loop.py [--model resnet18_cifar --dtype bfloat16]

The loop shuffles, augments, normalises and prefetches images, accumulates metrics, writes log lines
and TensorBoard events, and saves checkpoints. It runs once with batches made on the host, and once
with data stored on the device. The bare step runs over the same batches, already on the device. If
PyTorch is installed, it trains the same network on a single batch, and on the batches that its
DataLoader makes of the same images, with one worker per core; it writes and saves nothing. All take
turns, and are paused while others have theirs. Writes benchmarks/results/loop_*.json.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure
from jaxcnn import runtime
from jaxcnn.config import default_config
from jaxcnn.data.dataset import Dataset, dataset_from_arrays
from jaxcnn.layout import Layout
from jaxcnn.train.experiment import Experiment, create_feed, resolve
from jaxcnn.train.history import standard_observers
from jaxcnn.train.start import opened
from jaxcnn.train.state import TrainState, init_state
from jaxcnn.train.step import make_train_step
from jaxcnn.train.workdir import Workdir

SHAPE = (32, 32, 3)  # CIFAR's
PLACEMENTS = ("host", "device")
MODELS = {
    "resnet20_cifar": {"name": "resnet20_cifar"},
    "resnet18_cifar": {"name": "resnet18", "stem": "cifar"},
}
# The fastest form of PyTorch's step for ResNets, according to benchmarks/train_step.py.
TORCH_FORM = {"cpu": "torch eager channels_last", "gpu": "torch compile channels_last"}


def benchmark_config(model: str, dtype: str, batch_size: int, steps: int, placement: str):
    config = default_config()
    config.model.update({**MODELS[model], "dtype": dtype})
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


def own_contestants(
    arguments: argparse.Namespace, images: np.ndarray, labels: np.ndarray
) -> dict[str, Callable[[], float]]:
    """The bare step and the loops, each as a function that returns the seconds of a round."""
    dataset = dataset_from_arrays((images, labels), validation_fraction=0.0)
    layout, configs = Layout.over_all_devices(), {}
    for placement in PLACEMENTS:
        configs[placement] = benchmark_config(
            arguments.model, arguments.dtype, arguments.batch_size, arguments.steps, placement
        )
    experiment = Experiment.of(configs["host"], dataset.spec, layout)
    feed = create_feed(configs["host"], dataset, experiment, layout)
    with closing(feed.train_batches(0)) as endless:
        batches = list(itertools.islice(endless, arguments.steps))
    recipe, state = layout.replicate(experiment.recipe), fresh_state(experiment, dataset, layout)
    step = jax.jit(
        make_train_step(experiment.model),
        donate_argnums=0,
        out_shardings=(layout.of_state(state), None),
    )
    step = step.lower(state, batches[0], recipe).compile()

    def bare() -> float:
        state = jax.block_until_ready(fresh_state(experiment, dataset, layout))
        start = time.perf_counter()
        for batch in batches:
            state, metrics = step(state, batch, recipe)
        jax.block_until_ready((state, metrics))
        return time.perf_counter() - start

    def loop(placement: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            directory, config = Workdir(folder), configs[placement]
            with opened(config, directory, standard_observers(directory), dataset, layout) as run:
                run.begin()
                start = time.perf_counter()
                run.train()
                return time.perf_counter() - start

    contestants = {"bare": bare, **{name: partial(loop, name) for name in PLACEMENTS}}
    for contestant in contestants.values():  # warm up
        contestant()
    return contestants


def torch_contestants(
    arguments: argparse.Namespace, folder: str, running: ExitStack
) -> dict[str, Callable[[], float]]:
    """The same for PyTorch, if it is installed, with the images in the folder."""
    if not measure.has_torch():
        print("left out: PyTorch, for torch and torchvision are not both installed")
        return {}
    command = [str(Path(__file__)), f"--folder={folder}", f"--batch-size={arguments.batch_size}"]
    command += [f"--model={arguments.model}", f"--dtype={arguments.dtype}"]
    contestants = {}
    for name in ("torch bare", "torch loop"):
        racer = measure.Racer([*command, f"--contestant={name}"])
        running.callback(racer.stop)
        contestants[name] = lambda racer=racer: racer.turn(arguments.steps)[0]
    return contestants


def torch_contestant(arguments: argparse.Namespace) -> None:
    """Runs as one of them, in a separate process."""
    from benchmarks.contestants import with_torch

    model, dtype, batch_size = arguments.model, arguments.dtype, arguments.batch_size
    form = TORCH_FORM["gpu" if with_torch.DEVICE == "cuda" else "cpu"]
    if arguments.contestant == "torch loop":
        folder = Path(arguments.folder)
        steps = with_torch.make_loop(model, folder, batch_size, dtype, form)
    else:
        batch = measure.random_batch(SHAPE, batch_size)
        steps = with_torch.make_step(model, *batch, dtype, form)
    measure.serve(steps)


def report(arguments: argparse.Namespace, seconds: dict[str, list[float]]) -> dict:
    """Prints every round and the ratios of speeds; returns the contents of the JSON."""
    count = arguments.steps * arguments.batch_size
    print(
        f"{arguments.model}, {arguments.dtype}, batch {arguments.batch_size}, "
        f"on {measure.device_name()}"
    )
    print("images/s" + "".join(f"{name:>12}" for name in seconds))
    for row in zip(*seconds.values(), strict=True):
        print(" " * 8 + "".join(f"{count / value:>12,.0f}" for value in row))
    ratios = {}
    for own in PLACEMENTS:
        ratios[own] = {}
        for other in [name for name in seconds if name not in PLACEMENTS]:
            pairs = list(zip(seconds[other], seconds[own], strict=True))
            ratio = ratios[own][other] = measure.spread([its / ours for its, ours in pairs])
            summed = sum(seconds[other]) / sum(seconds[own])
            print(
                f"data on the {own}: {ratio['median']:.3f} × {other} ({ratio['min']:.3f} to "
                f"{ratio['max']:.3f}); {summed:.3f} × of the summed times"
            )
    return {
        "images_per_second": {
            name: [round(count / value, 1) for value in values] for name, values in seconds.items()
        },
        "loop_is_faster_by": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20_cifar", choices=MODELS)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=195, help="steps per round and contestant")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        torch_contestant(arguments)
        return

    runtime.prepare()
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (5_000, *SHAPE), np.uint8), rng.integers(0, 10, 5_000)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        np.savez(Path(folder, "train.npz"), images=images, labels=labels)
        contestants = {
            **torch_contestants(arguments, folder, running),
            **own_contestants(arguments, images, labels),
        }
        seconds = {name: [] for name in contestants}
        for order in measure.in_turn(list(contestants), arguments.rounds):
            for name in order:
                seconds[name].append(contestants[name]())
    result = report(arguments, seconds)
    settings = {key: getattr(arguments, key) for key in ("dtype", "batch_size", "steps")}
    measure.save(f"loop_{arguments.model}", {**settings, **result})


def fresh_state(experiment: Experiment, dataset: Dataset, layout: Layout) -> TrainState:
    model, recipe = experiment.model, experiment.recipe
    return init_state(model, recipe, dataset.spec.image_shape, 0, layout)


if __name__ == "__main__":
    main()
