"""Local response normalisation."""

import jax
import numpy as np
from jax import lax


def local_response_norm(
    x: jax.Array,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
    *,
    name: str,
) -> jax.Array:
    """x / (k + α/n · Σ x²)^β, the sum over the n nearest channels. Krizhevsky et al. 2012 §3.3.

    The defaults are AlexNet's constants. Dividing α by n is what its own code, Caffe and torch's
    `LocalResponseNorm` do.

    Args:
      x: (batch, height, width, channels).
      size: n; of an even number, the extra channel is the one before.
      name: what the layer is called in a summary.

    Returns:
      The same shape and dtype.
    """
    before, after = size // 2, (size - 1) // 2
    with jax.named_scope(name):
        squares = lax.reduce_window(
            lax.square(x),
            np.zeros((), x.dtype),
            lax.add,
            window_dimensions=(1, 1, 1, size),
            window_strides=(1, 1, 1, 1),
            padding=((0, 0), (0, 0), (0, 0), (before, after)),
        )
        return x * (k + alpha / size * squares) ** -beta
