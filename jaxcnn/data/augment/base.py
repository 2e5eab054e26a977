"""The base class of training-time augmentations, and those that only move or hide pixels.

An augmentation is a function of a batch of images and `draws` uniform numbers per example, which
the pipeline derives from (seed, epoch, example index) alone. So an example gets the same
augmentation in a given epoch regardless of batch size, number of workers or interruptions. Each
augmentation is written once for NumPy, TensorFlow and JAX (arrays.py).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np

from jaxcnn.data.augment.arrays import Array, Arrays
from jaxcnn.errors import UserError
from jaxcnn.limits import AT_LEAST_1, SHARE, ascending


class Pixels(NamedTuple):
    """A data set's pixel format.

    `whole`: pixels are whole numbers in 0 … 255, and stay so; else floats on any scale.
    `mean`: float32 (channels,), over the training split.
    """

    whole: bool
    mean: np.ndarray

    def finished(self, arrays: Arrays, images: Array) -> Array:
        """Rounds and clips whole pixels, so all libraries give the same bits."""
        return arrays.clip(arrays.round(images), 0.0, 255.0) if self.whole else images


@dataclass(frozen=True)
class Augmentation(ABC):
    """A random change, applied to each example with `probability`.

    A subclass implements `change`, which uses `draws_per_example` uniform numbers per example.
    """

    probability: Annotated[float, SHARE] = 1.0
    draws_per_example: ClassVar[int] = 0
    photometric: ClassVar[bool] = False  # only for pixels in 0 … 255

    @property
    def draws(self) -> int:
        """Uniform numbers in [0, 1) per example: `draws_per_example`, plus one if `probability` < 1."""
        return self.draws_per_example + (self.probability < 1)

    def __call__(self, arrays: Arrays, images: Array, draws: Array, pixels: Pixels) -> Array:
        """Augments float32 images (batch, height, width, channels) with draws (batch, `draws`)."""
        changed = self.change(arrays, images, draws[:, : self.draws_per_example], pixels)
        if self.probability == 1:
            return changed
        coin = draws[:, self.draws_per_example] < self.probability
        return arrays.where(per_image(coin), changed, images)

    @abstractmethod
    def change(self, arrays: Arrays, images: Array, draws: Array, pixels: Pixels) -> Array:
        """The images, all changed, given draws (batch, `draws_per_example`)."""

    def refusal(self, setting: str, valid: str) -> UserError:
        """The error for a setting that conflicts with another."""
        value = getattr(self, setting)
        return UserError(f"{type(self).__name__}: {setting}={value!r} must be {valid}")


def per_image(values: Array) -> Array:
    """(batch,) → (batch, 1, 1, 1)"""
    return values[:, None, None, None]


def uniform(low, high, draw: Array) -> Array:
    """Maps a draw uniform in [0, 1) to one uniform in [low, high)."""
    return low + (high - low) * draw


@dataclass(frozen=True)
class HorizontalFlip(Augmentation):
    """Flips an image left to right."""

    probability: Annotated[float, SHARE] = 0.5

    def change(self, arrays, images, draws, pixels):
        return arrays.flip(images, 2)


@dataclass(frozen=True)
class VerticalFlip(Augmentation):
    """Flips an image upside down."""

    probability: Annotated[float, SHARE] = 0.5

    def change(self, arrays, images, draws, pixels):
        return arrays.flip(images, 1)


@dataclass(frozen=True)
class Rotate90(Augmentation):
    """Rotates a square image by 0, 90, 180 or 270 degrees."""

    draws_per_example: ClassVar[int] = 1

    def change(self, arrays, images, draws, pixels):
        if images.shape[1] != images.shape[2]:
            raise UserError(f"rotate90 is for square images; these are {images.shape[1:3]}")
        turns = arrays.floor(4 * draws[:, 0])
        half = arrays.flip(arrays.flip(images, 1), 2)
        quarter = arrays.flip(arrays.transpose(images, (0, 2, 1, 3)), 1)
        three = arrays.flip(arrays.flip(quarter, 1), 2)
        turned = arrays.where(per_image(turns == 1), quarter, images)
        turned = arrays.where(per_image(turns == 2), half, turned)
        return arrays.where(per_image(turns == 3), three, turned)


@dataclass(frozen=True)
class PadAndCrop(Augmentation):
    """Pads each side with `padding` black pixels and takes a random crop of the original size."""

    padding: Annotated[int, AT_LEAST_1] = 4
    draws_per_example: ClassVar[int] = 2

    def change(self, arrays, images, draws, pixels):
        batch, height, width, channels = images.shape
        shift = arrays.int32(arrays.floor(draws * np.float32(2 * self.padding + 1))) - self.padding
        rows = shift[:, :1] + np.arange(height, dtype=np.int32)
        columns = shift[:, 1:] + np.arange(width, dtype=np.int32)
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
            :, None, :
        ]
        index = (
            width * arrays.clip(rows, 0, height - 1)[:, :, None]
            + arrays.clip(columns, 0, width - 1)[:, None, :]
        )
        flat = arrays.reshape(images, (batch, height * width, channels))
        moved = arrays.take(flat, arrays.reshape(index, (batch, height * width)))
        moved = arrays.reshape(moved, (batch, height, width, channels))
        return arrays.where(inside[..., None], moved, np.float32(0))


@dataclass(frozen=True)
class Cutout(Augmentation):
    """Fills a `size` × `size` square with the mean pixel; DeVries & Taylor 2017.

    Its centre is uniform over the pixels, so part of it may fall outside the image, as in the paper.
    """

    size: Annotated[int, AT_LEAST_1] = 8
    draws_per_example: ClassVar[int] = 2

    def change(self, arrays, images, draws, pixels):
        centre = [arrays.floor(draws[:, i] * images.shape[1 + i]) for i in (0, 1)]
        top, left = (value - self.size // 2 for value in centre)
        return _replaced(
            arrays, images, (top, left, self.size + 0 * top, self.size + 0 * left), pixels
        )


@dataclass(frozen=True)
class RandomErasing(Augmentation):
    """Fills a rectangle with the mean pixel; Zhong et al. 2020 (RE-M, with the paper's constants).

    Its share of the image's area is uniform in `area`, its aspect (height/width) in `aspect`; sides
    are clipped to the image's.
    """

    probability: Annotated[float, SHARE] = 0.5
    area: Annotated[tuple, ascending(0.0, 1.0)] = (0.02, 0.4)
    aspect: Annotated[tuple, ascending(0.0)] = (0.3, 1 / 0.3)
    draws_per_example: ClassVar[int] = 4

    def change(self, arrays, images, draws, pixels):
        height, width = (np.float32(n) for n in images.shape[1:3])
        area = height * width * uniform(*np.float32(self.area), draws[:, 0])
        aspect = uniform(*np.float32(self.aspect), draws[:, 1])
        rows = arrays.clip(arrays.round(arrays.sqrt(area * aspect)), 1.0, height)
        columns = arrays.clip(arrays.round(arrays.sqrt(area / aspect)), 1.0, width)
        top = arrays.floor(draws[:, 2] * (height - rows + 1))
        left = arrays.floor(draws[:, 3] * (width - columns + 1))
        return _replaced(arrays, images, (top, left, rows, columns), pixels)


def _replaced(arrays: Arrays, images: Array, box, pixels: Pixels) -> Array:
    """Fills a box (top, left, rows, columns), each (batch,), with the mean pixel."""
    top, left, rows, columns = (value[:, None] for value in box)
    y = np.arange(images.shape[1], dtype=np.float32)
    x = np.arange(images.shape[2], dtype=np.float32)
    in_box = ((y >= top) & (y < top + rows))[:, :, None] & ((x >= left) & (x < left + columns))[
        :, None, :
    ]
    fill = np.round(pixels.mean) if pixels.whole else pixels.mean
    return arrays.where(in_box[..., None], np.float32(fill), images)
