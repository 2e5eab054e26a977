"""Augmentations of brightness and colour, for pixels in 0 … 255, as in PIL and torchvision."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from jaxcnn.data.augment.arrays import Array, Arrays
from jaxcnn.data.augment.base import Augmentation, per_image, uniform
from jaxcnn.errors import UserError
from jaxcnn.limits import AT_LEAST_0, ascending, between

# Principal components of the RGB values of ImageNet's training images, as used by Krizhevsky et al.
# 2012 (values from fb.resnet.torch), for pixels in 0 … 1.
EIGENVALUES = np.float32([0.2175, 0.0188, 0.0045])
EIGENVECTORS = np.float32(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


def grey(images: Array) -> Array:
    """ITU-R 601 luma, (batch, height, width, 1); grey images are returned unchanged.

    Raises:
      UserError: the images have neither 1 nor 3 channels.
    """
    _require_channels(images, "of contrast, of saturation or of a policy", (1, 3))
    if images.shape[-1] == 1:
        return images
    return (
        np.float32(0.299) * images[..., :1]
        + np.float32(0.587) * images[..., 1:2]
        + np.float32(0.114) * images[..., 2:]
    )


def blurred(arrays: Arrays, images: Array) -> Array:
    """PIL's SMOOTH: a 3×3 mean with weight 5 on the centre; edge pixels stay unchanged."""
    inner = 4 * images[:, 1:-1, 1:-1]
    height, width = images.shape[1:3]
    for row in range(3):
        for column in range(3):
            inner = inner + images[:, row : height - 2 + row, column : width - 2 + column]
    inner = arrays.round(inner / np.float32(13))
    middle = arrays.concatenate([images[:, 1:-1, :1], inner, images[:, 1:-1, -1:]], 2)
    return arrays.concatenate([images[:, :1], middle, images[:, -1:]], 1)


def degenerate(arrays: Arrays, images: Array, kind: str) -> Array:
    """The result of an enhancement with factor 0."""
    match kind:
        case "brightness":
            return 0 * images
        case "contrast":
            size = images.shape[1] * images.shape[2]
            mean = arrays.sum(arrays.round(grey(images)), (1, 2, 3)) / np.float32(size)
            return 0 * images + per_image(arrays.round(mean))
        case "saturation":
            return 0 * images + arrays.round(grey(images))
        case "sharpness":
            return blurred(arrays, images)


@dataclass(frozen=True)
class Enhancement(Augmentation):
    """PIL's ImageEnhance: blends from `degenerate` (factor 0) to the image (1) and beyond.

    `strength` s: the factor is uniform in [max(0, 1 − s), 1 + s].
    """

    strength: Annotated[float, AT_LEAST_0] = 0.4
    kind: ClassVar[str]
    draws_per_example: ClassVar[int] = 1
    photometric: ClassVar[bool] = True

    def change(self, arrays, images, draws, pixels):
        low, high = np.float32(max(0.0, 1 - self.strength)), np.float32(1 + self.strength)
        factor = per_image(uniform(low, high, draws[:, 0]))
        from_image = degenerate(arrays, images, self.kind)
        return pixels.finished(arrays, from_image + factor * (images - from_image))


class Brightness(Enhancement):
    """Multiplies all pixels by a factor."""

    kind = "brightness"


class Contrast(Enhancement):
    """Moves pixels away from or towards the image's mean grey."""

    kind = "contrast"


class Saturation(Enhancement):
    """Moves pixels away from or towards their grey value; grey images stay unchanged."""

    kind = "saturation"


class Sharpness(Enhancement):
    """Moves pixels away from or towards a blurred image."""

    kind = "sharpness"


@dataclass(frozen=True)
class Hue(Augmentation):
    """Shifts the hue by a fraction of the colour circle, uniform in ± `shift`."""

    shift: Annotated[float, between(0, 0.5)] = 0.1
    draws_per_example: ClassVar[int] = 1
    photometric: ClassVar[bool] = True

    def change(self, arrays, images, draws, pixels):
        _require_channels(images, "'hue'", (3,))
        turn = np.float32(self.shift) * (2 * draws[:, 0] - 1)[:, None, None]
        red, green, blue = images[..., 0], images[..., 1], images[..., 2]
        value = arrays.maximum(arrays.maximum(red, green), blue)
        chroma = value - arrays.minimum(arrays.minimum(red, green), blue)
        divisor = arrays.where(chroma == 0, np.float32(1), chroma)
        sixths = arrays.where(
            value == red,
            (green - blue) / divisor,
            arrays.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
        )
        sixths = sixths + 6 * turn
        channels = []
        for offset in (5, 3, 1):  # for red, green and blue, in the closed-form HSV conversion
            k = sixths + offset
            k = k - 6 * arrays.floor(k / 6)
            channels.append(value - chroma * arrays.clip(arrays.minimum(k, 4 - k), 0.0, 1.0))
        return pixels.finished(arrays, arrays.stack(channels, -1))


@dataclass(frozen=True)
class ColorFactor(Augmentation):
    """Multiplies each channel by its own factor, uniform in `factor`."""

    factor: Annotated[tuple, ascending(0.0)] = (0.8, 1.2)
    draws_per_example: ClassVar[int] = 3
    photometric: ClassVar[bool] = True

    def change(self, arrays, images, draws, pixels):
        _require_channels(images, "'color_factor'", (1, 3))
        factor = uniform(*np.float32(self.factor), draws[:, : images.shape[-1]])
        return pixels.finished(arrays, images * factor[:, None, None, :])


@dataclass(frozen=True)
class PCALighting(Augmentation):
    """Adds Σᵢ αᵢλᵢpᵢ to each pixel, αᵢ normal with std `strength`; Krizhevsky et al. 2012."""

    strength: Annotated[float, AT_LEAST_0] = 0.1
    draws_per_example: ClassVar[int] = 6
    photometric: ClassVar[bool] = True

    def change(self, arrays, images, draws, pixels):
        _require_channels(images, "'pca_lighting'", (3,))
        # Box & Muller 1958; 1 − draw is never 0.
        radius = arrays.sqrt(-2 * arrays.log(1 - draws[:, :3]))
        normal = radius * arrays.cos(np.float32(2 * np.pi) * draws[:, 3:])
        scaled = np.float32(255 * self.strength) * EIGENVALUES * normal
        shift = sum(scaled[:, i, None] * EIGENVECTORS[:, i] for i in range(3))
        return pixels.finished(arrays, images + shift[:, None, None, :])


def _require_channels(images: Array, name: str, valid: tuple[int, ...]) -> None:
    if images.shape[-1] not in valid:
        raise UserError(
            f"augmentation {name} is for images of {' or '.join(map(str, valid))} channels; "
            f"these have {images.shape[-1]}"
        )
