"""Pooling over windows of NHWC images, and over the whole image."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.cpu import pooling as cpu
from jaxcnn.cpu.forms import use_cpu_forms
from jaxcnn.errors import check_choice
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
    if not use_cpu_forms():
        return nn.max_pool(images, window, strides, padding)
    return cpu.max_pool(images, window, strides, padding)


POOLS = {
    "max": max_pool,
    "avg": nn.avg_pool,
    # The mean over the pixels that are there: padding does not count, as in TensorFlow.
    "avg_unpadded": partial(nn.avg_pool, count_include_pad=False),
}


def pool(
    images: jax.Array,
    kind: str,
    window: int,
    stride: int | None = None,
    padding: int = 0,
    ceil: bool = False,
    *,
    name: str,
) -> jax.Array:
    """The maximum or the mean over square windows.

    Args:
      images: (batch, height, width, channels).
      kind: 'max', 'avg' (padding counts as zeros, as in torch) or 'avg_unpadded'.
      window: pixels on a side.
      stride: pixels from one window to the next; by default `window`, without overlap.
      padding: pixels on each side, less than the window.
      ceil: for 'max', whether a last window that only begins within the image counts, as torch's
        `ceil_mode`; otherwise the remainder at the edge is dropped.
      name: what the layer is called in an error and in a summary.

    Returns:
      (batch, rows, columns, channels), of the same dtype.

    Raises:
      EmptyLayerError: the image is smaller than the window.
      UserError: there is no such pooling.
    """
    check_choice("pooling", kind, POOLS)
    stride = stride or window
    extents = [size + 2 * padding for size in images.shape[1:3]]
    sizes = [(extent - window) // stride + 1 for extent in extents]
    if ceil:
        last = [-(-(extent - window) // stride) for extent in extents]
        sizes = [
            n + (n * stride < extent - padding) for n, extent in zip(last, extents, strict=True)
        ]
    check_not_empty(name, *sizes)
    over = [max(0, (n - 1) * stride + window - e) for n, e in zip(sizes, extents, strict=True)]
    paddings = tuple((padding, padding + pixels) for pixels in over)
    with jax.named_scope(name):
        return POOLS[kind](images, (window, window), (stride, stride), paddings)


def adaptive_average_pool(images: jax.Array, size: int, name: str) -> jax.Array:
    """Means over windows that cover the image, as torch's `AdaptiveAvgPool2d`.

    Of n pixels, output i of `size` averages those from ⌊i·n/size⌋ up to ⌈(i + 1)·n/size⌉; where the
    image has fewer pixels than that, some are repeated.

    Args:
      images: (batch, height, width, channels).
      size: rows and columns of the output.

    Returns:
      (batch, size, size, channels), of the same dtype.
    """
    with jax.named_scope(name):
        if images.shape[1:3] == (size, size):
            return images
        rows, columns = (jnp.asarray(_averages(n, size), images.dtype) for n in images.shape[1:3])
        return jnp.einsum("bhwc,rh,sw->brsc", images, rows, columns)


def _averages(pixels: int, size: int) -> np.ndarray:
    """(size, pixels): the weights with which each output averages the pixels."""
    weights = np.zeros((size, pixels))
    for i in range(size):
        window = slice(i * pixels // size, -(-(i + 1) * pixels // size))
        weights[i, window] = 1 / (window.stop - window.start)
    return weights


def global_average_pool(images: jax.Array) -> jax.Array:
    """(batch, height, width, channels) → (batch, channels)."""
    with jax.named_scope("average_pool"):
        return images.mean(axis=(1, 2))
