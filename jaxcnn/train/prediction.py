"""Predictions for arrays: the images that a network takes, and its compiled answer."""

from collections.abc import Callable, Mapping

import jax
import numpy as np

from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError
from jaxcnn.models.classifier import Classifier
from jaxcnn.programs import made_once


def checked_images(images: np.ndarray, spec: DataSpec) -> np.ndarray:
    """The images, (images, height, width, channels) as stored, if they are like those of a data set.

    Raises:
      UserError: they differ in shape or dtype.
    """
    images, (height, width, channels) = np.asarray(images), spec.image_shape
    if images.shape[1:] != spec.image_shape or len(images) == 0:
        raise UserError(
            f"images of shape {images.shape}: this run takes (images, {height}, {width}, {channels}), "
            "one image or more"
        )
    numbers = np.integer if spec.pixel_dtype == "uint8" else np.number
    if not np.issubdtype(images.dtype, numbers):
        raise UserError(f"images of {images.dtype}: this run takes {spec.pixel_dtype} pixels")
    return images


@made_once
def compiled_answer(model: Classifier, activation: str) -> Callable[[Mapping, dict], jax.Array]:
    """(variables, batch) → the outputs in evaluation mode, through 'softmax', 'sigmoid' or 'none'."""

    @jax.jit
    def answer(variables: Mapping, batch: dict) -> jax.Array:
        outputs = model.apply(variables, batch["image"], train=False)
        return outputs if activation == "none" else getattr(jax.nn, activation)(outputs)

    return answer
