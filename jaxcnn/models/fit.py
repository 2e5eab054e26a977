"""Whether a model accepts images of a size, found by tracing alone."""

from bisect import bisect_left

import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError
from jaxcnn.layers.conv import EmptyLayerError
from jaxcnn.models.classifier import Classifier

_LARGEST = 1024


def check_fits(
    name: str,
    model: Classifier,
    image_shape: tuple[int, int, int],
    advice: str,
    batch_size: int | None = None,
) -> None:
    """Traces the model on images (height, width, channels).

    Args:
      name: what the model is called in the message.
      advice: what the user can do about images that are too small; '{size}' in it becomes the number of
        pixels on a side of the smallest square ones.
      batch_size: of a training batch to trace it on; by default, evaluation is traced.

    Raises:
      UserError: a field has an impossible value, or a layer's output would have no pixels; then the
        message says which, and what the smallest size is.
    """
    try:
        _trace(model, image_shape, batch_size)
    except EmptyLayerError as error:
        height, width, channels = image_shape
        too_small = f"the images are too small for {name}: {height}×{width}, where {error}; "

        def fits(size: int) -> bool:
            return _takes(model, (size, size, channels), batch_size)

        if not fits(_LARGEST):
            raise UserError(f"{too_small}nor does it take {_LARGEST}×{_LARGEST}") from None
        size = 1 + bisect_left(range(1, _LARGEST + 1), True, key=fits)
        raise UserError(
            f"{too_small}the smallest size is {size}×{size}, and {advice.format(size=size)}"
        ) from None


def _trace(model: Classifier, image_shape: tuple[int, int, int], batch_size: int | None) -> None:
    images = jax.ShapeDtypeStruct((batch_size or 1, *image_shape), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    jax.eval_shape(lambda x: model.init(keys, x, train=batch_size is not None), images)


def _takes(model: Classifier, image_shape: tuple[int, int, int], batch_size: int | None) -> bool:
    try:
        _trace(model, image_shape, batch_size)
    except EmptyLayerError:
        return False
    return True
