"""Augmentations that resample: affine maps, and crops scaled back to the image's size."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from jaxcnn.data.augment.arrays import Array, Arrays
from jaxcnn.data.augment.base import Augmentation, uniform
from jaxcnn.limits import AT_LEAST_1, SHARE, ascending, between

TRIES = 10  # to draw a crop box that fits, as in torchvision


def sampled(arrays: Arrays, images: Array, y: Array, x: Array, outside_is_black: bool) -> Array:
    """Bilinear samples at (y, x), in pixels; the first pixel's centre is at 0.

    Args:
      images: (batch, height, width, channels).
      y, x: (batch, height, width), one per output pixel.
      outside_is_black: pixels outside the image are black; else they repeat its edge.
    """
    batch, height, width, channels = images.shape
    flat = arrays.reshape(images, (batch, height * width, channels))
    top, left = arrays.floor(y), arrays.floor(x)
    total = 0.0
    for rows, weight_y in ((top, 1 - (y - top)), (top + 1, y - top)):
        for columns, weight_x in ((left, 1 - (x - left)), (left + 1, x - left)):
            weight = weight_y * weight_x
            if outside_is_black:
                inside = (
                    (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)
                )
                weight = arrays.where(inside, weight, np.float32(0))
            row = arrays.int32(arrays.clip(rows, 0.0, height - 1.0))
            column = arrays.int32(arrays.clip(columns, 0.0, width - 1.0))
            index = arrays.reshape(width * row + column, (batch, height * width))
            pixel = arrays.reshape(arrays.take(flat, index), (batch, height, width, channels))
            total = total + weight[..., None] * pixel
    return total


def warped(arrays: Arrays, images: Array, matrix: tuple, outside_is_black: bool = True) -> Array:
    """Applies an affine map to each image about its centre.

    Args:
      matrix: (a, b, c, d, e, f), each (batch,): the output pixel at (x, y) from the centre, y
        downwards, samples the input at (ax + by + c, dx + ey + f).
    """
    height, width = images.shape[1:3]
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2)
    x = np.arange(width, dtype=np.float32)[None, :] - np.float32((width - 1) / 2)
    a, b, c, d, e, f = (value[:, None, None] for value in matrix)
    source_x = a * x + b * y + c + np.float32((width - 1) / 2)
    source_y = d * x + e * y + f + np.float32((height - 1) / 2)
    return sampled(arrays, images, source_y, source_x, outside_is_black)


@dataclass(frozen=True)
class Affine(Augmentation):
    """A random rotation, scaling, translation and shear about the centre, with black fill.

    Attributes:
      degrees: the angle is uniform in ± this, anticlockwise.
      scale: the factor is uniform in this range.
      translate: the shift is uniform in ± this share of the height, and of the width.
      shear: the shear angle is uniform in ± this, in degrees, along the rows.
    """

    degrees: Annotated[float, between(0, 180)] = 0.0
    scale: Annotated[tuple, ascending(0.0)] = (1.0, 1.0)
    translate: Annotated[float, SHARE] = 0.0
    shear: Annotated[float, between(0, 80)] = 0.0
    draws_per_example: ClassVar[int] = 5

    def change(self, arrays, images, draws, pixels):
        height, width = images.shape[1:3]
        signed = 2 * draws - 1
        angle = np.float32(np.deg2rad(self.degrees)) * signed[:, 0]
        scale = uniform(*np.float32(self.scale), draws[:, 1])
        down = np.float32(self.translate * height) * signed[:, 2]
        right = np.float32(self.translate * width) * signed[:, 3]
        shear = np.float32(np.deg2rad(self.shear)) * signed[:, 4]
        slope = arrays.sin(shear) / arrays.cos(shear)
        cos, sin = arrays.cos(angle) / scale, arrays.sin(angle) / scale
        # The inverse map: undo the shift, the rotation and scaling, then the shear.
        a, b, d, e = cos, -sin, sin, cos
        a, b = a - slope * d, b - slope * e
        matrix = a, b, -(a * right + b * down), d, e, -(d * right + e * down)
        return pixels.finished(arrays, warped(arrays, images, matrix))


@dataclass(frozen=True)
class Crop(Augmentation):
    """A random box, scaled to the image's size: bilinear, without antialiasing.

    As a config's first augmentation, with probability 1, it sets the box to decode of images on disk
    (`decoding.Decoder`, which antialiases when shrinking to less than half).
    """

    @abstractmethod
    def box(self, arrays: Arrays, height, width, draws: Array) -> tuple[Array, Array, Array, Array]:
        """(top, left, rows, columns), float32 (batch,), inside images of height × width.

        Args:
          height, width: float32, numbers or (batch,).
          draws: (batch, `draws_per_example`).
        """

    def change(self, arrays, images, draws, pixels):
        height, width = (np.float32(n) for n in images.shape[1:3])
        box = self.box(arrays, height, width, draws)
        return pixels.finished(arrays, _scaled_box(arrays, images, *box))


@dataclass(frozen=True)
class RandomResizedCrop(Crop):
    """The Inception crop; Szegedy et al. 2015.

    The box's share of the image's area is uniform in `area`, and the log of its aspect
    (width/height) is uniform over the range `aspect`. Takes the first of ten such boxes that fits,
    else the largest central box with an aspect in the range, as torchvision's RandomResizedCrop does.
    """

    area: Annotated[tuple, ascending(0.0, 1.0)] = (0.08, 1.0)
    aspect: Annotated[tuple, ascending(0.0)] = (3 / 4, 4 / 3)
    draws_per_example: ClassVar[int] = 2 * TRIES + 2

    def box(self, arrays, height, width, draws):
        low, high = (np.float32(np.log(value)) for value in self.aspect)
        fallback = arrays.clip(width / height, *np.float32(self.aspect))
        rows = arrays.minimum(height, arrays.round(width / fallback)) + 0 * draws[:, 0]
        columns = arrays.minimum(width, arrays.round(height * fallback)) + 0 * draws[:, 0]
        in_middle = draws[:, 0] >= 0
        for i in reversed(range(TRIES)):
            area = height * width * uniform(*np.float32(self.area), draws[:, 2 * i])
            aspect = arrays.exp(uniform(low, high, draws[:, 2 * i + 1]))
            box_columns = arrays.round(arrays.sqrt(area * aspect))
            box_rows = arrays.round(arrays.sqrt(area / aspect))
            fits = (
                (box_columns >= 1) & (box_columns <= width) & (box_rows >= 1) & (box_rows <= height)
            )
            rows = arrays.where(fits, box_rows, rows)
            columns = arrays.where(fits, box_columns, columns)
            in_middle = in_middle & ~fits
        spare_rows, spare_columns = height - rows, width - columns
        top = arrays.floor(draws[:, -2] * (spare_rows + 1))
        left = arrays.floor(draws[:, -1] * (spare_columns + 1))
        top = arrays.where(in_middle, arrays.floor(spare_rows / 2), top)
        left = arrays.where(in_middle, arrays.floor(spare_columns / 2), left)
        return top, left, rows, columns


@dataclass(frozen=True)
class ScaleJitterCrop(Crop):
    """Scales the short side to L, uniform in `short_side`, and crops a `size` × `size` square.

    Simonyan & Zisserman 2015 and He et al. 2016 use 224 and 256 … 480. The crop is scaled to the
    image's size, so only size/L matters.
    """

    short_side: Annotated[tuple, ascending(0.0)] = (256, 480)
    size: Annotated[int, AT_LEAST_1] = 224
    draws_per_example: ClassVar[int] = 3

    def __post_init__(self):
        if self.size > self.short_side[0]:
            raise self.refusal("size", f"at most {self.short_side[0]}, the least short_side")

    def box(self, arrays, height, width, draws):
        short_side = uniform(*np.float32(self.short_side), draws[:, 0])
        side = np.float32(self.size) * arrays.minimum(height, width) / short_side
        return draws[:, 1] * (height - side), draws[:, 2] * (width - side), side, side


def _scaled_box(arrays: Arrays, images: Array, top, left, rows, columns) -> Array:
    """Scales a box of each image, given as (batch,) arrays, to the image's size."""
    height, width = images.shape[1:3]
    down, right = rows / np.float32(height), columns / np.float32(width)
    zero = 0 * top
    # Maps centre to centre: a pixel's centre is half a pixel from its edges.
    matrix = (
        right, zero, left + (columns - width) / 2, zero, down, top + (rows - height) / 2,
    )  # fmt: skip
    return warped(arrays, images, matrix, outside_is_black=False)
