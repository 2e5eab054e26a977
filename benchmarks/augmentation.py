"""The effect of augmentation on a small budget: ResNet-20 on a tenth of Fashion-MNIST.

    TFDS_DATA_DIR=… python benchmarks/augmentation.py

Every recipe uses the same 6,000 training images, 10 epochs in batches of 128, learning rate and
seeds, and is evaluated on the 10,000 test images after the last step. Takes an hour on two cores.
Writes benchmarks/results/augmentation_*.json.
"""

import logging
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from benchmarks import measure
from jaxcnn import runtime
from jaxcnn.config import default_config
from jaxcnn.data.dataset import dataset_from_arrays, load_dataset
from jaxcnn.errors import UserError
from jaxcnn.train.start import train

SEEDS = (0, 1, 2)
IMAGES = 6_000
FLIP_CROP = [{"name": "horizontal_flip"}, {"name": "pad_and_crop", "padding": 2}]
CUTOUT = {"name": "cutout", "size": 8}
MIXUP = {"name": "mixup", "alpha": 0.2}
RECIPES = {  # data.augment, data.mix
    "none": ([], []),
    "flip + crop": (FLIP_CROP, []),
    "flip + crop + cutout": ([*FLIP_CROP, CUTOUT], []),
    "flip + crop + cutout + mixup": ([*FLIP_CROP, CUTOUT], [MIXUP]),
}


def recipe_config(augment: list, mix: list, seed: int):
    config = default_config()
    config.seed = seed
    config.model.name = "resnet20_cifar"
    config.data.update({"source": "tfds", "name": "fashion_mnist", "validation_fraction": 0.0})
    config.data.augment, config.data.mix = augment, mix
    config.optimizer.learning_rate = 0.1
    config.loss.l2_regularization = 5e-4
    config.schedule.warmup = "5%"
    config.train.duration = "10 epochs"
    return config


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    runtime.prepare()
    config = recipe_config([], [], 0)
    try:
        whole = load_dataset(config.data.to_dict())
    except UserError as error:
        raise SystemExit(str(error)) from None
    chosen = np.random.default_rng(0).permutation(len(whole.splits["train"]))[:IMAGES]
    train_split, test_split = whole.splits["train"][chosen], whole.splits["test"]
    dataset = dataset_from_arrays(
        (train_split.images, train_split.labels),
        (test_split.images, test_split.labels),
        validation_fraction=0.0,
        class_names=whole.spec.class_names,
    )
    rows = {name: [] for name in RECIPES}
    for seed in SEEDS:
        for name, (augment, mix) in RECIPES.items():
            with tempfile.TemporaryDirectory() as workdir:
                result = train(recipe_config(augment, mix, seed), workdir, dataset=dataset)
            rows[name].append(result["final"]["test"]["accuracy"])
            print(f"seed {seed}  {name:<32}{rows[name][-1]:.2%}", flush=True)
    for name, values in rows.items():
        print(f"| {name} | {statistics.mean(values):.2%} ± {statistics.stdev(values):.2%} |")
    measure.save("augmentation", {"images": IMAGES, "seeds": SEEDS, "recipes": rows})


if __name__ == "__main__":
    main()
