"""Losses. Each returns its sum, its count and its parts, so that masks and accumulation compose."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class Loss(NamedTuple):
    """`summed` over the examples that count, `count` of them, and `per_example` (0 where masked)."""

    summed: jax.Array  # scalar
    count: jax.Array  # scalar
    per_example: jax.Array  # (batch,)


def softmax_cross_entropy(
    logits: jax.Array, labels: jax.Array, mask: jax.Array, label_smoothing: float = 0.0
) -> Loss:
    """−Σₖ qₖ log softmax(logits)ₖ, with q = (1 − ε)·onehot + ε/C.

    Args:
      logits: (batch, classes), float32 or float64.
      labels: (batch,), whole numbers in [0, classes).
      mask: (batch,), True for the examples that count.
      label_smoothing: ε of Szegedy et al. 2016, in [0, 1).
    """
    log_p = jax.nn.log_softmax(logits)
    of_label = jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    cross_entropy = -(1 - label_smoothing) * of_label - label_smoothing * log_p.mean(axis=1)
    per_example = jnp.where(mask, cross_entropy, 0)
    return Loss(per_example.sum(), mask.sum(), per_example)


def l2_penalty(params) -> jax.Array:
    """½Σw² over the kernels (not biases, not norms): its gradient is w itself. A scalar."""
    kernels = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if path[-1].key == "kernel"
    ]
    return 0.5 * optax.tree.norm(kernels, squared=True)
