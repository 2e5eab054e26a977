"""Images to augment, and an augmentation applied to them with draws that a test chooses."""

import numpy as np

from jaxcnn.data.augment.arrays import numpy_arrays
from jaxcnn.data.augment.base import Pixels

MEAN = np.float32([100.4, 110.0, 120.0])
PIXELS = Pixels(True, MEAN)


def smooth(rng, shape):
    """Whole numbers in 0 … 255 that fill the range, darker to one side."""
    slope = np.linspace(0.2, 1, shape[2])[None, None, :, None]
    return (rng.integers(0, 256, shape) * slope).round().astype(np.float32)


def applied(augmentation, images, draws, pixels=PIXELS):
    draws = np.broadcast_to(np.float32(draws), (len(images), augmentation.draws))
    return np.asarray(augmentation(numpy_arrays, images, draws, pixels))
