"""Pooling over windows of NHWC images, and over the whole image."""

import flax.linen as nn
import jax

from jaxcnn.errors import UserError, suggestion
from jaxcnn.layers.conv import check_not_empty

POOLS = {"max": nn.max_pool, "avg": nn.avg_pool}


def pool(images: jax.Array, kind: str, window: int, name: str) -> jax.Array:
    """Windows of window × window pixels that do not overlap; a remainder at the edge is dropped.

    Args:
      images: (batch, height, width, channels).
      kind: 'max' or 'avg'.
      name: what the layer is called in an error.

    Returns:
      (batch, height // window, width // window, channels), of the same dtype.

    Raises:
      EmptyLayerError: the image is smaller than the window.
      UserError: there is no such pooling.
    """
    if kind not in POOLS:
        raise UserError(f"pooling '{kind}' does not exist; {suggestion(kind, POOLS)}")
    check_not_empty(name, images.shape[1] // window, images.shape[2] // window)
    return POOLS[kind](images, (window, window), strides=(window, window))


def global_average_pool(images: jax.Array) -> jax.Array:
    """(batch, height, width, channels) → (batch, channels)."""
    return images.mean(axis=(1, 2))
