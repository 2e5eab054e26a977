"""PyTorch: a DataLoader over torchvision's transforms, on PIL images or on tensors.

Of torchvision's two families of transforms each pipeline uses the one that is faster in it. PIL images
are made of the stored arrays one by one, as in torchvision's own data sets.
"""

import io
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler

from benchmarks.contestants.photographs import JITTER, MEAN, STD, encoded_photographs
from benchmarks.contestants.torchvision import torchvision

v1, v2 = torchvision.transforms, torchvision.transforms.v2

# JAX, imported by what the benchmarks share, warns of forks; nothing of it runs here.
warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)


class Examples(Dataset):
    """Images in memory, each transformed when it is asked for."""

    def __init__(self, images, labels, transform: Callable):
        self._images, self._labels, self._transform = images, labels, transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, i: int):
        return self._transform(self._images[i]), self._labels[i]


class Cutout:
    """Zeros, the mean pixel of a normalised image, in a square around a random pixel."""

    def __init__(self, size: int):
        self._size = size

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        top, left = (random.randrange(n) - self._size // 2 for n in image.shape[1:])
        rows = slice(max(top, 0), top + self._size)
        image[:, rows, max(left, 0) : left + self._size] = 0
        return image


def arrays(
    folder: Path, batch_size: int, padding: int, cutout: int, tensors: bool, workers: int
) -> Iterator:
    with np.load(folder / "train.npz") as stored:
        images, labels = stored["images"], stored["labels"].tolist()
    mean, std = images.mean((0, 1, 2)) / 255, images.std((0, 1, 2)) / 255
    transforms = [v1.RandomHorizontalFlip(), v1.RandomCrop(images.shape[1:3], padding=padding)]
    if tensors:
        images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        transforms.append(v1.ConvertImageDtype(torch.float32))
    else:
        images = images[..., 0] if images.shape[-1] == 1 else images
        transforms = [Image.fromarray, *transforms, v1.ToTensor()]
    transforms.append(v1.Normalize(mean.tolist(), std.tolist()))
    if cutout:
        transforms.append(Cutout(cutout))
    return _batches(Examples(images, labels, v1.Compose(transforms)), batch_size, workers)


def photographs(folder: Path, batch_size: int, size: int, tensors: bool, workers: int) -> Iterator:
    family = v2 if tensors else v1
    transforms = [
        family.RandomResizedCrop(size),
        family.RandomHorizontalFlip(),
        family.ColorJitter(JITTER, JITTER, JITTER),
    ]
    if tensors:
        to_float = v2.ToDtype(torch.float32, scale=True)
        transforms = [_decoded, v2.PILToTensor(), *transforms, to_float]
    else:
        transforms = [_decoded, *transforms, v1.ToTensor()]
    transforms.append(family.Normalize(MEAN, STD))
    examples = Examples(*encoded_photographs(folder), family.Compose(transforms))
    return _batches(examples, batch_size, workers)


def _decoded(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg)).convert("RGB")


def _batches(examples: Examples, batch_size: int, workers: int) -> Iterator:
    # One permutation after the other, so that no epoch's end drains the workers' queue.
    sampler = RandomSampler(examples, num_samples=10**6 * len(examples))
    pin = torch.cuda.is_available()
    loader = DataLoader(examples, batch_size, sampler=sampler, num_workers=workers, pin_memory=pin)
    return iter(loader)
