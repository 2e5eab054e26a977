"""The training-time augmentation as such, and those that only move or hide pixels.

An augmentation is a function of a batch of images and of numbers drawn for it, `draws` uniform
ones per example, which the pipeline derives from (seed, epoch, example index) alone. So the same
example in the same epoch is augmented in the same way whatever the batch size, the number of
workers, or how often the run was interrupted. It is written once, for NumPy, TensorFlow and JAX
(arrays.py).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np

from jaxcnn.data.augment.arrays import Array, Arrays
from jaxcnn.errors import UserError
from jaxcnn.limits import AT_LEAST_1, SHARE, ascending


class Pixels(NamedTuple):
    """What the pixels of a data set are.

    `whole`: they are whole numbers in 0 … 255, and stay so; else floats of any scale.
    `mean`: float32 (channels,), of the training split.
    """

    whole: bool
    mean: np.ndarray

    def finished(self, arrays: Arrays, images: Array) -> Array:
        """Rounds to what an image can hold, and so to the same bits in each library."""
        return arrays.clip(arrays.round(images), 0.0, 255.0) if self.whole else images


@dataclass(frozen=True)
class Augmentation(ABC):
    """Applied to an example with `probability`.

    A subclass says in `change` what is done, with `own_draws` uniform numbers per example.
    """

    probability: Annotated[float, SHARE] = 1.0
    own_draws: ClassVar[int] = 0
    photometric: ClassVar[bool] = False  # for pixels in 0 … 255 alone

    @property
    def draws(self) -> int:
        """How many uniform numbers in [0, 1) an example takes: `own_draws`, and one for a coin."""
        return self.own_draws + (self.probability < 1)

    def __call__(self, arrays: Arrays, images: Array, draws: Array, pixels: Pixels) -> Array:
        """Augments float32 images (batch, height, width, channels) with draws (batch, `draws`)."""
        changed = self.change(arrays, images, draws[:, : self.own_draws], pixels)
        if self.probability == 1:
            return changed
        coin = draws[:, self.own_draws] < self.probability
        return arrays.where(per_image(coin), changed, images)

    @abstractmethod
    def change(self, arrays: Arrays, images: Array, draws: Array, pixels: Pixels) -> Array:
        """Images that are changed with draws (batch, `own_draws`)."""

    def refusal(self, setting: str, valid: str) -> UserError:
        """The error of a setting that does not fit another one."""
        value = getattr(self, setting)
        return UserError(f"{type(self).__name__}: {setting}={value!r} must be {valid}")


def per_image(values: Array) -> Array:
    """(batch,) → (batch, 1, 1, 1)"""
    return values[:, None, None, None]


def uniform(low, high, draw: Array) -> Array:
    """Uniform in [low, high), of a draw that is uniform in [0, 1)."""
    return low + (high - low) * draw


@dataclass(frozen=True)
class HorizontalFlip(Augmentation):
    """Mirrors an image left to right."""

    probability: Annotated[float, SHARE] = 0.5

    def change(self, arrays, images, draws, pixels):
        return arrays.flip(images, 2)


@dataclass(frozen=True)
class VerticalFlip(Augmentation):
    """Mirrors an image upside down."""

    probability: Annotated[float, SHARE] = 0.5

    def change(self, arrays, images, draws, pixels):
        return arrays.flip(images, 1)


@dataclass(frozen=True)
class Rotate90(Augmentation):
    """Turns a square image by 0, 90, 180 or 270 degrees."""

    own_draws: ClassVar[int] = 1

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
    """Pads by `padding` black pixels on each side and cuts out a random window of the old size."""

    padding: Annotated[int, AT_LEAST_1] = 4
    own_draws: ClassVar[int] = 2

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
    """A square of `size` pixels is replaced by the mean pixel; DeVries & Taylor 2017.

    Its centre is uniform over the pixels, so that some of it may lie outside, as in the paper.
    """

    size: Annotated[int, AT_LEAST_1] = 8
    own_draws: ClassVar[int] = 2

    def change(self, arrays, images, draws, pixels):
        centre = [arrays.floor(draws[:, i] * images.shape[1 + i]) for i in (0, 1)]
        top, left = (value - self.size // 2 for value in centre)
        return _replaced(
            arrays, images, (top, left, self.size + 0 * top, self.size + 0 * left), pixels
        )


@dataclass(frozen=True)
class RandomErasing(Augmentation):
    """A rectangle is replaced by the mean pixel; Zhong et al. 2020 (their RE-M, their constants).

    Its area is uniform in `area` of the image's, its aspect (height/width) in `aspect`; a side
    longer than the image is cut to it.
    """

    probability: Annotated[float, SHARE] = 0.5
    area: Annotated[tuple, ascending(0.0, 1.0)] = (0.02, 0.4)
    aspect: Annotated[tuple, ascending(0.0)] = (0.3, 1 / 0.3)
    own_draws: ClassVar[int] = 4

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
    """Images with the mean pixel in a box (top, left, rows, columns), each (batch,)."""
    top, left, rows, columns = (value[:, None] for value in box)
    y = np.arange(images.shape[1], dtype=np.float32)
    x = np.arange(images.shape[2], dtype=np.float32)
    in_box = ((y >= top) & (y < top + rows))[:, :, None] & ((x >= left) & (x < left + columns))[
        :, None, :
    ]
    fill = np.round(pixels.mean) if pixels.whole else pixels.mean
    return arrays.where(in_box[..., None], np.float32(fill), images)
