"""Little and much data: from scratch, a linear probe and fine-tuning, on Fashion-MNIST.

    jaxcnn convert --model=resnet20_cifar --from=resnet20-12fca82f.th --to=weights/resnet20
    TFDS_DATA_DIR=… python benchmarks/transfer.py --weights=weights/resnet20 [--grid]

A ResNet-20 trained on CIFAR-10 meets 10, 100 and 1,000 images of each class, grey made colour and 28×28
scaled to 32×32, normalised as the weights were. Each seed draws other images, and another head or
network. Nesterov momentum, a cosine schedule, L2 of 1e-4, no augmentation; the last weights are
evaluated on the 10,000 test images. The learning rate of each mode is the best of --grid, at 10 images
of each class of one seed that the table does not have. An interval is Student's, at 95%, over seeds.
Finished runs are kept in --folder, so that the same command goes on. Writes
benchmarks/results/transfer_*.json.
"""

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure
from jaxcnn import default_config, runtime, train
from jaxcnn.compare.statistics import mean_interval
from jaxcnn.data.dataset import Dataset, load_dataset

# Images of each class → batch size, steps.
LENGTHS = {10: (50, 150), 100: (100, 200), 1000: (128, 300)}
MODES = {
    "scratch": ("", 0.1),
    "linear probe": ("linear_probe", 0.3),
    "fine-tuning": ("finetune", 0.1),
}
RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
GRID_SEED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="what jaxcnn convert wrote")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--grid", action="store_true", help="print the grid of learning rates")
    parser.add_argument("--folder", type=Path, default=Path("runs/transfer"))
    arguments = parser.parse_args()
    runtime.prepare()
    logging.getLogger("jaxcnn").setLevel(logging.WARNING)
    whole = load_dataset(config_of("", arguments.weights).data.to_dict())

    def accuracy(name: str, count: int, seed: int, rate: float) -> float:
        folder = arguments.folder / f"{name} {count} {seed} {rate}".replace(" ", "_")
        config = config_of(MODES[name][0], arguments.weights, count, seed, rate)
        result = train(config, folder, dataset=some_of(whole, count, seed))
        print(f"{folder.name}: {result['final']['test']['accuracy']:.2%}", flush=True)
        return result["final"]["test"]["accuracy"]

    if arguments.grid:
        for name in MODES:
            found = [accuracy(name, 10, GRID_SEED, rate) for rate in RATES]
            pairs = zip(RATES, found, strict=True)
            print(
                f"{name}: {', '.join(f'{rate} {value:.1%}' for rate, value in pairs)}", flush=True
            )
        return
    found = {}
    for count in LENGTHS:
        for name, (_, rate) in MODES.items():
            values = [accuracy(name, count, seed, rate) for seed in range(arguments.seeds)]
            found[f"{name}, {count} images of each class"] = values
            interval = mean_interval(values)
            half = 100 * (interval.high - interval.mean)
            print(f"{name}, {count:,} of each class: {interval.mean:.1%} ± {half:.1f}", flush=True)
        measure.save("transfer", found)


def config_of(mode: str, weights: str, count: int = 10, seed: int = 0, rate: float = 0.1):
    config, (batch_size, steps) = default_config(), LENGTHS[count]
    config.seed, config.model.name = seed, "resnet20_cifar"
    config.data.update(
        {
            "source": "tfds", "name": "fashion_mnist", "validation_fraction": 0.0, "resize": 32,
            "grey_to_colour": True, "statistics": "imagenet", "placement": "device",
        }
    )  # fmt: skip
    if mode:
        config.init_from, config.transfer.mode = str(Path(weights).resolve()), mode
        config.reinitialize = ["^head/"]  # ten classes too, but others
    config.optimizer.name, config.optimizer.learning_rate = "nesterov", rate
    config.loss.l2_regularization = 1e-4
    config.train.update({"duration": f"{steps} steps", "global_batch_size": batch_size})
    config.log.every = config.checkpoint.every = config.eval.every = "50%"
    return config


def some_of(whole: Dataset, count: int, seed: int) -> Dataset:
    """The data with `count` training images of each class, drawn by the seed."""
    rng, train = np.random.default_rng(seed), whole.splits["train"]
    chosen = [
        rng.choice(np.flatnonzero(train.labels == label), count, False) for label in range(10)
    ]
    splits = {**whole.splits, "train": train[np.sort(np.concatenate(chosen))]}
    sizes = {name: len(split) for name, split in splits.items()}
    return Dataset(splits, replace(whole.spec, sizes=sizes, class_counts=(count,) * 10))


if __name__ == "__main__":
    main()
