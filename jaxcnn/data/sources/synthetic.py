"""Noise around a colour for each class."""

import numpy as np

from jaxcnn.data.split import Source, Split
from jaxcnn.errors import UserError


def synthetic(
    resize: int,
    height: int = 32,
    width: int = 32,
    channels: int = 3,
    classes: int = 10,
    train_images: int = 5_000,
    test_images: int = 1_000,
) -> Source:
    """Noise around a colour for each class: for benchmarks, and to try what needs no real data.

    Args:
      resize: pixels per side; 0: height × width.
    """
    size = (resize, resize) if resize else (height, width)
    for setting, value in (
        ("height", size[0]), ("width", size[1]), ("channels", channels), ("classes", classes),
        ("train_images", train_images), ("test_images", test_images),
    ):  # fmt: skip
        if value < 1:
            raise UserError(f"config.data.{setting}={value} must be at least 1")
    rng = np.random.default_rng(0)
    colours = rng.integers(64, 192, (classes, 1, 1, channels))

    def noise(count: int) -> Split:
        labels = np.arange(count, dtype=np.int32) % classes
        images = rng.integers(-64, 64, (count, *size, channels), np.int16) + colours[labels]
        return Split(images.astype(np.uint8), labels)

    splits = {"train": noise(train_images), "test": noise(test_images)}
    names = tuple(map(str, range(classes)))
    return Source(splits, names, ("the images are synthetic: noise around a colour per class",))
