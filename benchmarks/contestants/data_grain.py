"""Grain: a MapDataset with transforms in NumPy and, for photographs, in PIL."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grain
import numpy as np
from absl import flags
from PIL import Image, ImageEnhance

from benchmarks.contestants.photographs import JITTER, MEAN, STD, encoded_photographs


class Examples:
    """Images and labels in memory, as Grain asks for them."""

    def __init__(self, images: Sequence, labels: Sequence):
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, i: int) -> dict:
        return {"image": self._images[i], "label": self._labels[i]}


class AugmentArray:
    """Flips, pads and crops, normalises, and cuts out."""

    def __init__(self, images: np.ndarray, padding: int, cutout: int):
        mean, std = images.mean((0, 1, 2)), images.std((0, 1, 2))
        self._normalise = Normalise(mean, std, images.shape[2])
        self._padding, self._cutout = padding, cutout

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        image, padding = example["image"], self._padding
        height, width, channels = image.shape
        if rng.random() < 0.5:
            image = image[:, ::-1]
        padded = np.zeros((height + 2 * padding, width + 2 * padding, channels), np.uint8)
        padded[padding : padding + height, padding : padding + width] = image
        top, left = rng.integers(2 * padding + 1, size=2)
        image = self._normalise(padded[top : top + height, left : left + width])
        if self._cutout:
            top, left = (rng.integers(n) - self._cutout // 2 for n in (height, width))
            rows = slice(max(top, 0), top + self._cutout)
            image[rows, max(left, 0) : left + self._cutout] = 0
        return {"image": image, "label": example["label"]}


class AugmentPhotograph:
    """Decodes, crops and scales as Inception does, flips, changes colours, and normalises."""

    def __init__(self, size: int):
        self._size = size
        self._normalise = Normalise(255 * np.array(MEAN), 255 * np.array(STD), size)

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        image = Image.open(io.BytesIO(example["image"])).convert("RGB")
        box, size = inception_box(*image.size, rng), (self._size, self._size)
        image = image.resize(size, Image.Resampling.BILINEAR, box=box)
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhance(image).enhance(rng.uniform(1 - JITTER, 1 + JITTER))
        return {"image": self._normalise(np.asarray(image)), "label": example["label"]}


class Normalise:
    """(pixel − mean)/std, with mean and std laid out along a row, which NumPy runs over faster."""

    def __init__(self, mean: np.ndarray, std: np.ndarray, width: int):
        self._mean, self._std = (np.tile(np.float32(x), (width, 1)) for x in (mean, std))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return (image - self._mean) / self._std


def inception_box(width: int, height: int, rng: np.random.Generator) -> tuple:
    """(left, top, right, bottom) of torchvision's RandomResizedCrop."""
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1)
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        columns, rows = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < columns <= width and 0 < rows <= height:
            left, top = rng.integers(width - columns + 1), rng.integers(height - rows + 1)
            return left, top, left + columns, top + rows
    columns, rows = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - columns) // 2, (height - rows) // 2
    return left, top, left + columns, top + rows


def arrays(folder: Path, batch_size: int, padding: int, cutout: int, workers: int) -> Iterator:
    with np.load(folder / "train.npz") as stored:
        images, labels = stored["images"], stored["labels"]
    augment = AugmentArray(images, padding, cutout)
    return _batches(Examples(images, labels), augment, batch_size, workers, threads=0)


def photographs(folder: Path, batch_size: int, size: int, workers: int) -> Iterator:
    examples = Examples(*encoded_photographs(folder))
    # PIL lets other threads run while it decodes and scales; two per core were the fastest.
    threads = 0 if workers else 2 * os.cpu_count()
    return _batches(examples, AugmentPhotograph(size), batch_size, workers, threads)


def _batches(
    examples: Examples, augment: Callable, batch_size: int, workers: int, threads: int
) -> Iterator:
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["benchmark"])  # Grain reads flags of its own
    dataset = grain.MapDataset.source(examples).seed(0).shuffle().repeat().random_map(augment)
    options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=batch_size * (threads > 0)
    )
    dataset = dataset.to_iter_dataset(options).batch(batch_size)
    if workers:
        processes = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        dataset = dataset.mp_prefetch(processes)
    return iter(dataset)
