"""Pooling over windows of NHWC images, and over the whole image."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import UserError, suggestion
from jaxcnn.layers.conv import check_not_empty

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]


def max_pool(images: jax.Array, window: Pair, strides: Pair, padding: Padding) -> jax.Array:
    """The maximum over each window; its gradient goes to the window's first maximum, row by row.

    On a CPU, XLA's gradient of a maximum (select-and-scatter) is 5 to 10 times slower than this
    one; elsewhere this is `flax.linen.max_pool`. docs/performance.md has the measurements.

    Args:
      images: (batch, height, width, channels) floats.
      window, strides: (rows, columns).
      padding: ((above, below), (left, right)) pixels of -∞.

    Returns:
      (batch, rows, columns, channels) of the same dtype; the images' edge is dropped where no whole
      window fits.
    """
    if jax.default_backend() != "cpu":
        return nn.max_pool(images, window, strides, padding)
    no_padding = (0, 0)
    infinite = jnp.pad(images, (no_padding, *padding, no_padding), constant_values=-jnp.inf)
    return _max_pool(infinite, infinite.shape, window, strides)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(images: jax.Array, shape: tuple, window: Pair, strides: Pair) -> jax.Array:
    largest, *others = _windows(images, window, strides)
    for pixels in others:
        largest = jnp.maximum(largest, pixels)
    return largest


def _windows(images: jax.Array, window: Pair, strides: Pair) -> list[jax.Array]:
    """For each position in a window, the pixels that stand there in all the windows."""
    rows, columns = (
        (size - extent) // stride * stride + 1
        for size, extent, stride in zip(images.shape[1:3], window, strides, strict=True)
    )
    return [
        images[:, row : row + rows : strides[0], column : column + columns : strides[1]]
        for row in range(window[0])
        for column in range(window[1])
    ]


def _max_pool_forward(images, shape, window, strides):
    largest, *others = _windows(images, window, strides)
    dtype = np.min_scalar_type(len(others))
    position = jnp.zeros(largest.shape, dtype)
    for i, pixels in enumerate(others, start=1):
        position = jnp.where(pixels > largest, jnp.asarray(i, dtype), position)
        largest = jnp.maximum(largest, pixels)
    return largest, position


def _max_pool_backward(shape, window, strides, position, gradient):
    images = jax.ShapeDtypeStruct(shape, gradient.dtype)
    to_images = jax.linear_transpose(lambda x: _windows(x, window, strides), images)
    zero = jnp.zeros((), gradient.dtype)
    count = window[0] * window[1]
    return to_images([jnp.where(position == i, gradient, zero) for i in range(count)])


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)

POOLS = {"max": max_pool, "avg": nn.avg_pool}


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
    return POOLS[kind](images, (window, window), (window, window), ((0, 0), (0, 0)))


def global_average_pool(images: jax.Array) -> jax.Array:
    """(batch, height, width, channels) → (batch, channels)."""
    return images.mean(axis=(1, 2))
