"""Training-time augmentation: each entry a pure function of a batch and of numbers drawn for it.

An augmentation consumes `draws` uniform numbers per example, which the pipeline derives from (seed,
epoch, example index) alone. So the same example in the same epoch is augmented in the same way
whatever the batch size, the number of workers, or how often the run was interrupted; and the two
implementations, for tf.data and for NumPy, give the same bits.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxcnn.data.tensorflow import tensorflow
from jaxcnn.errors import UserError
from jaxcnn.registry import Registry


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirrors an image left to right."""

    probability: float = 0.5
    draws: ClassVar[int] = 1

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise UserError(f"horizontal_flip: probability={self.probability} is not in [0, 1]")

    def numpy(self, images, draws):
        flip = draws[:, 0] < self.probability
        return np.where(flip[:, None, None, None], images[:, :, ::-1], images)

    def tensorflow(self, images, draws):
        tf = tensorflow("augmentation in tf.data")
        flip = draws[:, 0] < self.probability
        return tf.where(flip[:, None, None, None], tf.reverse(images, axis=[2]), images)


@dataclass(frozen=True)
class PadAndCrop:
    """Pads by `padding` black pixels on each side and cuts out a random window of the old size."""

    padding: int = 4
    draws: ClassVar[int] = 2

    def __post_init__(self):
        if self.padding < 1:
            raise UserError(f"pad_and_crop: padding={self.padding} must be at least 1")

    def numpy(self, images, draws):
        batch, height, width, _ = images.shape
        top, left = np.floor(draws.T * np.float32(2 * self.padding + 1)).astype(np.int32)
        pad = (self.padding, self.padding)
        padded = np.pad(images, ((0, 0), pad, pad, (0, 0)))
        rows = top[:, None] + np.arange(height)
        columns = left[:, None] + np.arange(width)
        return padded[np.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]

    def tensorflow(self, images, draws):
        tf = tensorflow("augmentation in tf.data")
        height, width = images.shape[1:3]
        offsets = tf.cast(tf.floor(draws * np.float32(2 * self.padding + 1)), tf.int32)
        pad = (self.padding, self.padding)
        padded = tf.pad(images, ((0, 0), pad, pad, (0, 0)))
        rows = offsets[:, :1] + tf.range(height)
        columns = offsets[:, 1:] + tf.range(width)
        padded = tf.gather(padded, rows, axis=1, batch_dims=1)
        return tf.gather(padded, columns, axis=2, batch_dims=1)


AUGMENTATIONS = Registry("augmentation")
AUGMENTATIONS.register("horizontal_flip", HorizontalFlip)
AUGMENTATIONS.register("pad_and_crop", PadAndCrop)


def create_augmentations(entries) -> list:
    """The augmentations that a config's `data.augment` lists, in order.

    Raises:
      UserError: an augmentation or one of its settings does not exist or cannot have that value.
    """
    entries = [dict(entry) for entry in entries]
    return [AUGMENTATIONS.create(entry.pop("name"), **entry) for entry in entries]
