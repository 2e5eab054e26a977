"""Throughput and processor time of the training input: jaxcnn, PyTorch, Grain.

    TFDS_DATA_DIR=… python benchmarks/input_pipeline.py [--jobs digits photographs] [--rounds 5]

Each contestant, in a separate process, draws batches of shuffled, augmented, normalised float32
images and discards them. All may use every core: jaxcnn with threads, PyTorch and Grain with one
worker process per core, or within the single process for the rows marked 'in process'. They take
turns, and are paused while others have theirs, so that none draws ahead at another's cost.
Processor time is the user and system time of a contestant and its workers.

Arrays are in memory for all contestants. The photographs are generated JPEG files of about
ImageNet's size. jaxcnn reads them from a TFDS set; PyTorch and Grain have the bytes of the same
files in memory, which saves them the reading. Each library crops and scales in its own way: PyTorch
and Grain with antialiasing. The last rows only decode the whole photographs.

PyTorch, torchvision and Grain are left out if they are not installed (pip install -e '.[bench]',
and pip install --no-deps torchvision). Without a prepared Fashion-MNIST and CIFAR-10 in
TFDS_DATA_DIR, their images are noise of the same shape. Prints a table for each job and writes
benchmarks/results/input_pipeline_*.json.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import pickle
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure

PHOTOGRAPHS = 1_024
SECONDS_PER_TURN = 4.0
WARM_UP = 10
WORKERS = os.cpu_count()


class Job(NamedTuple):
    """What is drawn, by which function of a contestant's module, and with which settings."""

    what: str
    function: str
    settings: dict


JOBS = {
    "digits": Job(
        "8×8×1; flip, pad 1 and crop",
        "arrays",
        {"batch_size": 128, "padding": 1, "cutout": 0},
    ),
    "fashion_mnist": Job(
        "28×28×1; flip, pad 4 and crop",
        "arrays",
        {"batch_size": 128, "padding": 4, "cutout": 0},
    ),
    "cifar10": Job(
        "32×32×3; flip, pad 4 and crop, cutout 8",
        "arrays",
        {"batch_size": 128, "padding": 4, "cutout": 8},
    ),
    "photographs": Job(
        "JPEG, 224×224×3; Inception's crop, flip, brightness, contrast, saturation",
        "photographs",
        {"batch_size": 64, "size": 224},
    ),
}
NOISE = {"fashion_mnist": (60_000, 28, 28, 1), "cifar10": (50_000, 32, 32, 3)}


class Entrant(NamedTuple):
    """A contestant's module, the packages it needs, its settings, and the jobs it can do."""

    module: str
    packages: tuple[str, ...] = ()
    settings: Mapping = MappingProxyType({})
    functions: tuple[str, ...] = ("arrays", "photographs")


TORCH = ("torch", "torchvision")
JPEG = ("photographs",)
ENTRANTS = {
    "jaxcnn": Entrant("data_jaxcnn"),
    "torch, PIL": Entrant("data_torch", TORCH, {"tensors": False, "workers": WORKERS}),
    "torch, tensors": Entrant("data_torch", TORCH, {"tensors": True, "workers": WORKERS}),
    "torch, tensors, in process": Entrant(
        "data_torch", TORCH, {"tensors": True, "workers": 0}, ("arrays",)
    ),
    "grain": Entrant("data_grain", ("grain",), {"workers": WORKERS}),
    "grain, in process": Entrant("data_grain", ("grain",), {"workers": 0}),
    "decoding alone, TensorFlow": Entrant("data_decode", (), {"library": "tensorflow"}, JPEG),
    "decoding alone, PIL": Entrant("data_decode", (), {"library": "pil"}, JPEG),
}


def contestant(name: str, job: Job, folder: Path) -> None:
    """Runs as a contestant, in a separate process."""
    entrant = ENTRANTS[name]
    module = importlib.import_module(f"benchmarks.contestants.{entrant.module}")
    batches = getattr(module, job.function)(folder, **job.settings, **entrant.settings)

    def draw(count: int) -> None:
        for _ in range(count):
            next(batches)

    measure.serve(draw, WARM_UP)


def store(name: str, folder: Path) -> str:
    """Writes a job's data where the contestants find it; returns a description of it."""
    if name == "photographs":
        return _store_photographs(folder)
    from jaxcnn.config import default_config
    from jaxcnn.data.dataset import load_dataset

    settings = default_config().data.to_dict() | {"validation_fraction": 0.0}
    if name in NOISE and not Path(os.environ.get("TFDS_DATA_DIR", ""), name).is_dir():
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, NOISE[name], np.uint8)
        labels, what = rng.integers(0, 10, len(images)), "images of noise"
    else:
        settings |= {"source": "tfds", "name": name} if name in NOISE else {"source": "digits"}
        split = load_dataset(settings).splits["train"]
        images, labels, what = split.images, split.labels, "images"
    np.savez(folder / "train.npz", images=images, labels=labels)
    return f"{len(images):,} {what}"


def _store_photographs(folder: Path) -> str:
    import tensorflow_datasets as tfds

    from tests.photographs import make_photographs

    make_photographs(folder, images=PHOTOGRAPHS)
    examples = tfds.builder("photographs", data_dir=str(folder)).as_dataset(
        split="train", decoders={"image": tfds.decode.SkipDecoding()}
    )
    encoded, labels = zip(
        *((example["image"], int(example["label"])) for example in examples.as_numpy_iterator()),
        strict=True,
    )
    (folder / "photographs.pickle").write_bytes(pickle.dumps((list(encoded), list(labels))))
    size = sum(map(len, encoded)) / len(encoded)
    return f"{len(encoded):,} files of {size / 1e3:.0f} kB"


def entered(function: str) -> list[str]:
    """The available contestants for a job; prints which are left out."""
    names = []
    for name, entrant in ENTRANTS.items():
        if function not in entrant.functions:
            continue
        missing = [package for package in entrant.packages if not importlib.util.find_spec(package)]
        if missing:
            print(f"left out: {name}, for {' and '.join(missing)} is not installed")
        else:
            names.append(name)
    return names


def race(name: str, rounds: int, folder: Path) -> dict[str, tuple[list, list]]:
    """Images per second and processor microseconds per image of every contestant."""
    job = JOBS[name]
    names = entered(job.function)
    command = [str(Path(__file__)), f"--jobs={name}", f"--folder={folder}"]
    racers, rows = {}, {entrant: ([], []) for entrant in names}
    try:
        for entrant in names:
            racers[entrant] = measure.Racer([*command, f"--contestant={entrant}"])
        counts = {
            entrant: max(3, round(SECONDS_PER_TURN / racer.turn(5)[0] * 5))
            for entrant, racer in racers.items()
        }
        for order in measure.in_turn(names, rounds):
            for entrant in order:
                seconds, used = racers[entrant].turn(counts[entrant])
                images = counts[entrant] * job.settings["batch_size"]
                rows[entrant][0].append(images / seconds)
                rows[entrant][1].append(used / images * 1e6)
    finally:
        for racer in racers.values():
            racer.stop()
    return rows


def report(name: str, data: str, rows: dict[str, tuple[list, list]]) -> dict:
    """Prints a job's table; returns the contents of the JSON."""
    job, (speeds, costs) = JOBS[name], rows["jaxcnn"]
    print(f"\n{name}, {data}: {job.what}; batch {job.settings['batch_size']}")
    print(
        f"{'':<28}{'images/s':>10}{'least':>9}{'most':>9}{'jaxcnn is':>11}"
        f"{'CPU µs/image':>14}{'least':>9}{'most':>9}{'jaxcnn takes':>14}"
    )
    contestants = {}
    for entrant, (its_speeds, its_costs) in rows.items():
        speed, cost = measure.spread(its_speeds, 1), measure.spread(its_costs, 2)
        faster = measure.spread([a / b for a, b in zip(speeds, its_speeds, strict=True)], 3)
        takes = measure.spread([a / b for a, b in zip(costs, its_costs, strict=True)], 3)
        print(
            f"{entrant:<28}{speed['median']:>10,.0f}{speed['min']:>9,.0f}{speed['max']:>9,.0f}"
            f"{faster['median']:>10.2f}×{cost['median']:>14,.1f}{cost['min']:>9,.1f}"
            f"{cost['max']:>9,.1f}{takes['median']:>13.2f}×"
        )
        contestants[entrant] = {
            "images_per_second": speed,
            "cpu_microseconds_per_image": cost,
            "jaxcnn_is_faster_by": faster,
            "jaxcnn_takes_of_its_cpu": takes,
        }
    return {"what": job.what, "data": data, **job.settings, "contestants": contestants}


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=JOBS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        contestant(arguments.contestant, JOBS[arguments.jobs[0]], Path(arguments.folder))
        return

    jobs = {}
    for name in arguments.jobs:
        with tempfile.TemporaryDirectory() as folder:
            data = store(name, Path(folder))
            jobs[name] = report(name, data, race(name, arguments.rounds, Path(folder)))
    peers = {package: version(package) for package in ("torchvision", "grain", "pillow")}
    measure.save("input_pipeline", {"workers": WORKERS, "peers": peers, "jobs": jobs})


if __name__ == "__main__":
    main()
