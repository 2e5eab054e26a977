"""The compiled training step, compared with plain Flax and with each form of PyTorch.

    python benchmarks/train_step.py [--models resnet18 resnet50] [--dtype bfloat16]

Accepts every model of the registry, on images of the size that it was published for. Each
contestant has a separate process; in turn they train the same network on the same batch, which is
on the device. Identical processes differ in speed by up to a half, each for its whole lifetime, so
all of them are restarted several times. Plain Flax and PyTorch take part where they have the
network, and PyTorch only if it is installed (pip install -e '.[torch]', and pip install --no-deps
torchvision). Prints a table for each model and writes benchmarks/results/train_step_MODEL_*.json.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure

SMALL = ("lenet5", "simple_cnn", "resnet20_cifar")
LARGE = ("resnet18", "resnet50", "vgg16", "densenet121", "wide_resnet28_10")
SECONDS_PER_TURN = 2.0


def contestant(who: str, model: str, batch_size: int, dtype: str) -> None:
    """Runs as a contestant, in a separate process."""
    from jaxcnn.models import PUBLISHED_FOR

    batch = measure.random_batch(PUBLISHED_FOR[model][0], batch_size)
    if who == "jaxcnn":
        from benchmarks.contestants import with_jaxcnn

        steps = with_jaxcnn.make_step(model, *batch, dtype)
    elif who == "flax":
        from benchmarks.contestants import with_flax

        steps = with_flax.make_step(model, *batch, dtype)
    else:
        from benchmarks.contestants import with_torch

        steps = with_torch.make_step(model, *batch, dtype, who)
    measure.serve(steps)


def contestants(model: str) -> list[str]:
    """The contestants that have this network."""
    from benchmarks.contestants import with_flax

    names = ["jaxcnn"]
    if model in with_flax.MODELS:
        names.append("flax")
    if measure.has_torch():
        from benchmarks.contestants import with_torch

        if model in with_torch.MODELS:
            names.extend(with_torch.FORMS)
    return names


def multiply_adds(name: str) -> int:
    """Multiply-adds of the convolutions and dense layers for one image in the forward pass."""
    from jaxcnn import create_model
    from jaxcnn.diagnose.summary import summarize
    from jaxcnn.models import PUBLISHED_FOR

    shape, classes = PUBLISHED_FOR[name]
    return summarize(name, create_model(name, num_classes=classes), shape).multiply_adds


def is_slow(model: str) -> bool:
    """Whether a step of 128 images would take about a minute."""
    import jax

    return jax.default_backend() == "cpu" and multiply_adds(model) > 1e9


def matrix_product_peak(dtype: str) -> float:
    """Multiply-adds per second of a large square product, the best of ten."""
    import time

    import jax
    import jax.numpy as jnp

    size = 2_048 if jax.default_backend() == "cpu" else 8_192
    a = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    product = jax.jit(jnp.matmul)
    product(a, a).block_until_ready()
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        product(a, a).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return size**3 / min(seconds)


def race(model: str, batch_size: int, dtype: str, processes: int, rounds: int) -> dict:
    """Images per second of every contestant, measured in turns."""
    names = contestants(model)
    script = str(Path(__file__))
    flags = [f"--models={model}", f"--batch-size={batch_size}", f"--dtype={dtype}"]
    speeds = {name: [] for name in names}
    for _ in range(processes):
        racers = {
            name: measure.Contestant([script, f"--contestant={name}", *flags]) for name in names
        }
        counts = {
            name: max(1, round(SECONDS_PER_TURN / racer.seconds(3) * 3))
            for name, racer in racers.items()
        }
        for order in measure.in_turn(names, rounds):
            for name in order:
                seconds = racers[name].seconds(counts[name])
                speeds[name].append(counts[name] * batch_size / seconds)
        for racer in racers.values():
            racer.stop()
    return speeds


def report(model: str, speeds: dict[str, list[float]], batch_size: int, peak: float) -> dict:
    """Prints the model's table; returns the contents of the JSON."""
    macs = 3 * multiply_adds(model)  # forward pass, input gradients, kernel gradients
    print(
        f"\n{model}, batch {batch_size}: {macs / 1e6:,.1f} M multiply-adds per image and step; "
        f"a matrix product runs at {2 * peak / 1e9:,.0f} GFLOP/s"
    )
    header = f"{'':<30}{'images/s':>10}{'least':>9}{'most':>9}{'of peak':>9}{'jaxcnn is':>12}"
    print(header)
    rows = {}
    for name, values in speeds.items():
        ratio = measure.spread([a / b for a, b in zip(speeds["jaxcnn"], values, strict=True)], 3)
        row = measure.spread(values, 1)
        rows[name] = {
            "images_per_second": row,
            "fraction_of_peak": round(row["median"] * macs / peak, 4),
            "jaxcnn_is_faster_by": ratio,
        }
        print(
            f"{name:<30}{row['median']:>10,.1f}{row['min']:>9,.1f}{row['max']:>9,.1f}"
            f"{rows[name]['fraction_of_peak']:>9.1%}{ratio['median']:>11.2f}×"
        )
    return {
        "batch_size": batch_size,
        "multiply_adds_per_image": macs,
        "peak_multiply_adds_per_second": round(peak),
        "contestants": rows,
    }


def main() -> None:
    from jaxcnn.models import list_models

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", default=[*SMALL, *LARGE], choices=list_models(), metavar="MODEL"
    )
    parser.add_argument("--batch-size", type=int, help="default: 128; large networks on a CPU: 8")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--processes", type=int, help="default: 5; large networks on a CPU: 3")
    parser.add_argument(
        "--rounds", type=int, help="per process; default: 3; large networks on a CPU: 1"
    )
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    dtype = arguments.dtype
    if arguments.contestant:
        contestant(arguments.contestant, arguments.models[0], arguments.batch_size, dtype)
        return

    for model in arguments.models:
        slow = is_slow(model)
        batch_size = arguments.batch_size or (8 if slow else 128)
        processes = arguments.processes or (3 if slow else 5)
        rounds = arguments.rounds or (1 if slow else 3)
        peak = matrix_product_peak(dtype)
        speeds = race(model, batch_size, dtype, processes, rounds)
        result = report(model, speeds, batch_size, peak)
        settings = {"dtype": dtype, "processes": processes, "rounds": rounds}
        measure.save(f"train_step_{model}_{dtype}", {**settings, **result})


if __name__ == "__main__":
    main()
