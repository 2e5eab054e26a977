"""jaxcnn: the batches that `jaxcnn train` draws."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.contestants.photographs import JITTER, MEAN, STD
from jaxcnn import runtime
from jaxcnn.config import default_config
from jaxcnn.data.augment.table import create_augmentations
from jaxcnn.data.dataset import dataset_from_arrays, load_dataset
from jaxcnn.data.feeding.host import train_batches


def arrays(folder: Path, batch_size: int, padding: int, cutout: int) -> Iterator:
    runtime.prepare()
    with np.load(folder / "train.npz") as stored:
        dataset = dataset_from_arrays((stored["images"], stored["labels"]), validation_fraction=0.0)
    entries = [{"name": "horizontal_flip"}, {"name": "pad_and_crop", "padding": padding}]
    if cutout:
        entries.append({"name": "cutout", "size": cutout})
    return train_batches(dataset, create_augmentations(entries), batch_size, seed=0)


def photographs(folder: Path, batch_size: int, size: int) -> Iterator:
    runtime.prepare()
    entries = [{"name": "random_resized_crop"}, {"name": "horizontal_flip"}]
    for name in ("brightness", "contrast", "saturation"):
        entries.append({"name": name, "strength": JITTER})
    settings = {"source": "tfds", "name": "photographs", "data_dir": str(folder), "resize": size}
    settings |= {"mean": MEAN, "std": STD, "validation_fraction": 0.0, "augment": entries}
    dataset = load_dataset(default_config().data.to_dict() | settings)
    return train_batches(dataset, create_augmentations(entries), batch_size, seed=0)
