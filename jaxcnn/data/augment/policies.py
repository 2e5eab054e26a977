"""RandAugment and TrivialAugment: random operations from a fixed list, with torchvision's strengths.

Each operation is an affine map, an enhancement or a 256-entry lookup table. So a batch with a
different operation per image costs one map, four enhancements and one table, not all fourteen.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from jaxcnn.data.augment.arrays import Array, Arrays
from jaxcnn.data.augment.base import Augmentation, Pixels, per_image
from jaxcnn.data.augment.geometry import warped
from jaxcnn.data.augment.photometry import degenerate
from jaxcnn.limits import AT_LEAST_0, AT_LEAST_1, Limit

AT_LEAST_2 = Limit(lambda value: value >= 2, "at least 2")
OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness",
    "saturation", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
ENHANCEMENTS = ("brightness", "saturation", "contrast", "sharpness")


def strengths(wide: bool, bins: int, height: int, width: int) -> np.ndarray:
    """(operations, bins): each operation's strength per bin, from none to its maximum.

    Args:
      wide: use TrivialAugment's ranges (Müller & Hutter 2021), else RandAugment's (Cubuk et al. 2020).
    """
    most = {
        "shear_x": 0.99 if wide else 0.3,
        "shear_y": 0.99 if wide else 0.3,
        "translate_x": 32.0 if wide else 150 / 331 * width,
        "translate_y": 32.0 if wide else 150 / 331 * height,
        "rotate": 135.0 if wide else 30.0,
        **dict.fromkeys(ENHANCEMENTS, 0.99 if wide else 0.9),
    }
    rising = np.linspace(0, 1, bins)
    table = {name: most.get(name, 0.0) * rising for name in OPERATIONS}
    steps = (bins - 1) / (6 if wide else 4)
    table["posterize"] = 8 - np.round(np.arange(bins) / steps)
    table["solarize"] = 255 * (1 - rising)
    return np.stack([table[name] for name in OPERATIONS]).astype(np.float32)


@dataclass(frozen=True)
class RandAugment(Augmentation):
    """`operations` random operations in sequence, each at strength bin `magnitude` of `bins`.

    Cubuk et al. 2020, with torchvision's fourteen operations and ranges. Signs are random.
    """

    operations: Annotated[int, AT_LEAST_1] = 2
    magnitude: Annotated[int, AT_LEAST_0] = 9
    bins: Annotated[int, AT_LEAST_2] = 31
    photometric: ClassVar[bool] = True

    def __post_init__(self):
        if self.magnitude >= self.bins:
            raise self.refusal("magnitude", f"less than bins={self.bins}")

    @property
    def draws_per_example(self) -> int:
        return 2 * self.operations

    def change(self, arrays, images, draws, pixels):
        table = strengths(False, self.bins, *images.shape[1:3])[:, self.magnitude]
        for i in range(self.operations):
            operation = arrays.int32(arrays.floor(len(OPERATIONS) * draws[:, 2 * i]))
            strength = _looked_up(arrays, table, operation)
            images = _operated(arrays, images, operation, strength, draws[:, 2 * i + 1], pixels)
        return images


@dataclass(frozen=True)
class TrivialAugment(Augmentation):
    """One random operation at a random strength, from wide ranges; Müller & Hutter 2021."""

    bins: Annotated[int, AT_LEAST_2] = 31
    draws_per_example: ClassVar[int] = 3
    photometric: ClassVar[bool] = True

    def change(self, arrays, images, draws, pixels):
        table = strengths(True, self.bins, *images.shape[1:3]).ravel()
        operation = arrays.int32(arrays.floor(len(OPERATIONS) * draws[:, 0]))
        bin_ = arrays.int32(arrays.floor(self.bins * draws[:, 1]))
        strength = _looked_up(arrays, table, self.bins * operation + bin_)
        return _operated(arrays, images, operation, strength, draws[:, 2], pixels)


def _looked_up(arrays: Arrays, table: np.ndarray, index: Array) -> Array:
    """table[index], for index (batch,)."""
    rows = np.broadcast_to(table, (index.shape[0], len(table)))
    return arrays.take(arrays.float32(rows), index[:, None])[:, 0]


def _operated(
    arrays: Arrays, images: Array, operation: Array, strength: Array, sign: Array, pixels: Pixels
) -> Array:
    """Applies to each image its operation, an int32 (batch,) index into OPERATIONS."""
    is_a = {name: operation == number for number, name in enumerate(OPERATIONS)}
    zero = np.float32(0)
    signed = arrays.where(sign < 0.5, -strength, strength)

    def of(name: str) -> Array:
        return arrays.where(is_a[name], signed, zero)

    angle = np.float32(np.pi / 180) * of("rotate")
    cos, sin = arrays.cos(angle), arrays.sin(angle)
    matrix = (
        cos, -sin + of("shear_x"), of("translate_x"),
        sin + of("shear_y"), cos, of("translate_y"),
    )  # fmt: skip
    answer = pixels.finished(arrays, warped(arrays, images, matrix))
    moves = operation >= 1
    for name in ENHANCEMENTS:
        from_image = degenerate(arrays, images, name)
        enhanced = from_image + per_image(1 + signed) * (images - from_image)
        answer = arrays.where(per_image(is_a[name]), pixels.finished(arrays, enhanced), answer)
    looked_up = _by_table(arrays, images, is_a, strength)
    answer = arrays.where(per_image(operation >= 10), looked_up, answer)
    return arrays.where(per_image(moves), answer, images)


def _by_table(arrays: Arrays, images: Array, is_a: dict, strength: Array) -> Array:
    """Posterize, solarize, autocontrast or equalize, by a 256-entry table for each channel."""
    batch, height, width, channels = images.shape
    flat = arrays.reshape(
        arrays.transpose(images, (0, 3, 1, 2)), (batch * channels, height * width)
    )
    values = np.arange(256, dtype=np.float32)[None]

    def each_channel(per_example):
        repeated = arrays.stack([per_example] * channels, 1)
        return arrays.reshape(repeated, (batch * channels, 1))

    strength = each_channel(strength)
    step = arrays.exp(np.float32(np.log(2)) * (8 - arrays.clip(strength, 0.0, 8.0)))
    step = arrays.round(step)  # 2^(8 − bits)
    posterized = step * arrays.floor(values / step)
    solarized = arrays.where(values >= strength, 255 - values, values)
    low = arrays.min(flat, 1)[:, None]
    high = arrays.max(flat, 1)[:, None]
    span = arrays.where(high > low, high - low, np.float32(255))
    low = arrays.where(high > low, low, np.float32(0))
    stretched = arrays.clip(arrays.floor((values - low) * 255 / span), 0.0, 255.0)
    tables = (
        ("posterize", posterized),
        ("solarize", solarized),
        ("autocontrast", stretched),
        ("equalize", _equalized(arrays, flat)),
    )
    table = 0 * strength + values
    for name, operated in tables:
        table = arrays.where(each_channel(is_a[name]), operated, table)
    looked_up = arrays.take(table, arrays.int32(flat))
    return arrays.transpose(
        arrays.reshape(looked_up, (batch, channels, height, width)), (0, 2, 3, 1)
    )


def _equalized(arrays: Arrays, flat: Array) -> Array:
    """PIL's ImageOps.equalize: the lookup table that equalizes each row's histogram."""
    counts = arrays.histogram(arrays.int32(flat))
    total = flat.shape[1]
    positions = np.arange(256, dtype=np.int32)[None]
    last = arrays.max(arrays.where(counts > 0, positions, np.int32(0)), 1)[:, None]
    of_last = arrays.take(counts, last)
    step = (total - of_last) // 255
    before = arrays.cumsum(counts) - counts
    table = (step // 2 + before) // arrays.maximum(step, np.int32(1))
    table = arrays.clip(arrays.float32(table), 0.0, 255.0)
    return arrays.where(step > 0, table, arrays.float32(positions))
