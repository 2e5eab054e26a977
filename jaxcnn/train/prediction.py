"""Predictions: the images that a network takes, and its compiled answer."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.data.sources.decoding import read_image
from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError
from jaxcnn.models.classifier import Classifier
from jaxcnn.programs import made_once
from jaxcnn.train.losses import OF_TARGETS
from jaxcnn.train.other_images import decoder_of_files


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


def file_reader(data: ConfigDict, spec: DataSpec) -> Callable[[str | Path], np.ndarray]:
    """The function that reads an image file as images of a run with this data, scaled to their size.

    It raises a UserError if the file cannot be read or has another shape.

    Raises:
      UserError: the run was trained on arrays of another scale.
    """
    if spec.pixel_dtype != "uint8":
        raise UserError(
            f"this run was trained on {spec.pixel_dtype} arrays, and nothing says how the "
            "pixels of an image file are to be scaled to them; call SavedRun.predict with arrays"
        )
    height, width, channels = spec.image_shape
    decoder = decoder_of_files(data, height if height == width else 0, channels)

    def read(path: str | Path) -> np.ndarray:
        image = read_image(decoder, path)
        if image.shape != spec.image_shape:
            raise UserError(
                f"{path} has {image.shape[0]}×{image.shape[1]} pixels; this run's images, which "
                f"are not square, have {height}×{width}"
            )
        return image

    return read


def answers_or_errors(
    paths: Sequence[str | Path],
    read: Callable[[str | Path], np.ndarray],
    predict: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray | UserError]:
    """The prediction for each file; the error for one that `read` refuses."""
    found: list[Any] = []
    for path in paths:
        try:
            found.append(read(path))
        except UserError as error:
            found.append(error)
    whole = [i for i, image in enumerate(found) if isinstance(image, np.ndarray)]
    if whole:
        for i, answer in zip(whole, predict(np.stack([found[i] for i in whole])), strict=True):
            found[i] = answer
    return found


def answer_for(model: Classifier, loss: str) -> Callable[[Mapping, dict], jax.Array]:
    """`compiled_answer` of a network that was trained with a loss."""
    sigmoid = loss == "sigmoid_cross_entropy"
    activation = "none" if loss in OF_TARGETS else "sigmoid" if sigmoid else "softmax"
    return compiled_answer(model, activation)


@made_once
def compiled_answer(model: Classifier, activation: str) -> Callable[[Mapping, dict], jax.Array]:
    """(variables, batch) → the outputs in evaluation mode, through 'softmax', 'sigmoid' or 'none'."""

    @jax.jit
    def answer(variables: Mapping, batch: dict) -> jax.Array:
        outputs = model.apply(variables, batch["image"], train=False)
        return outputs if activation == "none" else getattr(jax.nn, activation)(outputs)

    return answer
