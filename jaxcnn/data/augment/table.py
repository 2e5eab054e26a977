"""The augmentation registry, and the augmentations in a config."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np

from jaxcnn.data.augment.arrays import numpy_arrays
from jaxcnn.data.augment.base import (
    Augmentation,
    Cutout,
    HorizontalFlip,
    PadAndCrop,
    Pixels,
    RandomErasing,
    Rotate90,
    VerticalFlip,
)
from jaxcnn.data.augment.geometry import Affine, RandomResizedCrop, ScaleJitterCrop
from jaxcnn.data.augment.photometry import (
    Brightness,
    ColorFactor,
    Contrast,
    Hue,
    PCALighting,
    Saturation,
    Sharpness,
)
from jaxcnn.data.augment.policies import RandAugment, TrivialAugment
from jaxcnn.errors import UserError
from jaxcnn.registry import Registry

AUGMENTATIONS = Registry("augmentation")
register_augmentation = AUGMENTATIONS.register
for _name, _constructor in {
    "pad_and_crop": PadAndCrop,
    "random_resized_crop": RandomResizedCrop,
    "scale_jitter_crop": ScaleJitterCrop,
    "horizontal_flip": HorizontalFlip,
    "vertical_flip": VerticalFlip,
    "rotate90": Rotate90,
    "rotation": partial(Affine, degrees=20.0),
    "scaling": partial(Affine, scale=(0.8, 1.25)),
    "translation": partial(Affine, translate=0.1),
    "similarity": partial(Affine, degrees=20.0, scale=(0.8, 1.25), translate=0.1),
    "affine": partial(Affine, degrees=20.0, scale=(0.8, 1.25), translate=0.1, shear=15.0),
    "brightness": Brightness,
    "contrast": Contrast,
    "saturation": Saturation,
    "hue": Hue,
    "sharpness": Sharpness,
    "color_factor": ColorFactor,
    "pca_lighting": PCALighting,
    "cutout": Cutout,
    "random_erasing": RandomErasing,
    "rand_augment": RandAugment,
    "trivial_augment": TrivialAugment,
}.items():
    register_augmentation(_name, _constructor)


def create_augmentations(entries: Iterable[Mapping]) -> list[Augmentation]:
    """The augmentations listed in a config's `data.augment`, in order.

    Raises:
      UserError: an augmentation or setting does not exist, or a value is invalid.
    """
    entries = [dict(entry) for entry in entries]
    return [AUGMENTATIONS.create(entry.pop("name"), **entry) for entry in entries]


def check_augmentations(
    augmentations: Sequence[Augmentation], image_shape: tuple[int, int, int], pixels: Pixels
) -> None:
    """Tries augmentations on a blank image of a data set's shape.

    Raises:
      UserError: an augmentation does not support such images.
    """
    image = np.zeros((1, *image_shape), np.float32)
    for augmentation in augmentations:
        if augmentation.photometric and not pixels.whole:
            raise UserError(
                f"augmentation {type(augmentation).__name__} is for pixels in 0 … 255, but this "
                "data set has floats on another scale"
            )
        augmentation(numpy_arrays, image, np.zeros((1, augmentation.draws), np.float32), pixels)
