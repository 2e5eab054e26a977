"""Synthetic images: noise around one colour per class."""

import math
from typing import Annotated

import numpy as np

from jaxcnn.data.sources.memory import COPIES, check_memory
from jaxcnn.data.split import Source, Split
from jaxcnn.limits import AT_LEAST_1


def synthetic(
    resize: int,
    height: Annotated[int, AT_LEAST_1] = 32,
    width: Annotated[int, AT_LEAST_1] = 32,
    channels: Annotated[int, AT_LEAST_1] = 3,
    classes: Annotated[int, AT_LEAST_1] = 10,
    train_images: Annotated[int, AT_LEAST_1] = 5_000,
    test_images: Annotated[int, AT_LEAST_1] = 1_000,
) -> Source:
    """Noise around one colour per class: for benchmarks, and for trials without real data.

    Args:
      resize: pixels per side; 0: height × width.
    """
    size = (resize, resize) if resize else (height, width)
    values = (train_images + test_images) * math.prod(size) * channels
    check_memory(f"{size[0]}×{size[1]} synthetic images", COPIES * values)
    rng = np.random.default_rng(0)
    colours = rng.integers(64, 192, (classes, 1, 1, channels))

    def noise(count: int) -> Split:
        labels = np.arange(count, dtype=np.int32) % classes
        images = rng.integers(-64, 64, (count, *size, channels), np.int16) + colours[labels]
        return Split(images.astype(np.uint8), labels)

    splits = {"train": noise(train_images), "test": noise(test_images)}
    names = tuple(map(str, range(classes)))
    return Source(splits, names, ("the images are synthetic: noise around one colour per class",))
