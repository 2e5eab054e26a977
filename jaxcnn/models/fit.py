"""Whether a model can take images of a size, found out without computing anything."""

from bisect import bisect_left

import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError
from jaxcnn.layers.conv import EmptyLayerError
from jaxcnn.models.classifier import Classifier

_LARGEST = 1024


def check_fits(
    name: str, model: Classifier, image_shape: tuple[int, int, int], advice: str
) -> None:
    """Traces the model on images (height, width, channels).

    Args:
      name: what the model is called in the message.
      advice: what the user can do about images that are too small; '{size}' in it becomes the number of
        pixels on a side of the smallest square ones.

    Raises:
      UserError: a field has an impossible value, or a layer's output would have no pixels; then the
        message says which, and what the smallest size is.
    """
    try:
        _trace(model, image_shape)
    except EmptyLayerError as error:
        height, width, channels = image_shape

        def fits(size: int) -> bool:
            return _takes(model, (size, size, channels))

        smallest = 1 + bisect_left(range(1, _LARGEST + 1), True, key=fits)
        raise UserError(
            f"the images are too small for {name}: {height}×{width}, where {error}; "
            f"the smallest size is {smallest}×{smallest}, and {advice.format(size=smallest)}"
        ) from None


def _trace(model: Classifier, image_shape: tuple[int, int, int]) -> None:
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)


def _takes(model: Classifier, image_shape: tuple[int, int, int]) -> bool:
    try:
        _trace(model, image_shape)
    except EmptyLayerError:
        return False
    return True
