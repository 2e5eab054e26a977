"""Losses. Each returns its sum, its count and its parts, so that masks and accumulation compose."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcnn.registry import Registry


class Loss(NamedTuple):
    """`summed` over the examples that count, `count` of them, and `per_example` (0 where masked)."""

    summed: jax.Array  # scalar
    count: jax.Array  # scalar
    per_example: jax.Array  # (batch,)


def _over(mask: jax.Array, per_example: jax.Array) -> Loss:
    per_example = jnp.where(mask, per_example, 0)
    return Loss(per_example.sum(), mask.sum(), per_example)


# --- of classes ---------------------------------------------------------------------------------


def softmax_cross_entropy(
    logits: jax.Array, labels: jax.Array, mask: jax.Array, label_smoothing: float = 0.0
) -> Loss:
    """−Σₖ qₖ log softmax(logits)ₖ, with q = (1 − ε)·label + ε/C.

    Args:
      logits: (batch, classes), float32 or float64.
      labels: (batch,), whole numbers in [0, classes); or (batch, classes), probabilities.
      mask: (batch,), True for the examples that count.
      label_smoothing: ε of Szegedy et al. 2016, in [0, 1).
    """
    log_p = jax.nn.log_softmax(logits)
    if labels.ndim == 1:
        of_label = jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    else:
        of_label = (labels * log_p).sum(axis=1)
    cross_entropy = -(1 - label_smoothing) * of_label - label_smoothing * log_p.mean(axis=1)
    return _over(mask, cross_entropy)


def sigmoid_cross_entropy(
    logits: jax.Array, labels: jax.Array, mask: jax.Array, label_smoothing: float = 0.0
) -> Loss:
    """−Σₖ qₖ log σ(logits)ₖ + (1 − qₖ) log(1 − σ(logits)ₖ): a binary question for each class.

    Takes what `softmax_cross_entropy` takes, and smooths labels as it does. The sum over the classes;
    torch's BCEWithLogitsLoss is their mean.
    """
    classes = logits.shape[1]
    targets = jax.nn.one_hot(labels, classes) if labels.ndim == 1 else labels
    targets = (1 - label_smoothing) * targets + label_smoothing / classes
    return _over(mask, optax.sigmoid_binary_cross_entropy(logits, targets).sum(axis=1))


# --- of targets ---------------------------------------------------------------------------------


def l1(outputs: jax.Array, targets: jax.Array, mask: jax.Array) -> Loss:
    """|output − target|, the mean over a target's entries.

    Args:
      outputs: (batch, entries of a target).
      targets: (batch, …), of any shape.
      mask: (batch,), True for the examples that count.
    """
    return _over(mask, _of_entries(jnp.abs, outputs, targets))


def l2(outputs: jax.Array, targets: jax.Array, mask: jax.Array) -> Loss:
    """(output − target)², the mean over a target's entries. Takes what `l1` takes."""
    return _over(mask, _of_entries(jnp.square, outputs, targets))


def huber(outputs: jax.Array, targets: jax.Array, mask: jax.Array, delta: float = 1.0) -> Loss:
    """½e² where |e| ≤ δ, else δ(|e| − ½δ), e = output − target; Huber 1964. Takes what `l1` takes."""
    return _over(mask, _of_entries(partial(optax.huber_loss, delta=delta), outputs, targets))


def _of_entries(function: Callable, outputs: jax.Array, targets: jax.Array) -> jax.Array:
    errors = outputs.reshape(targets.shape) - targets
    return function(errors).reshape(len(targets), -1).mean(axis=1)


# --- by name ------------------------------------------------------------------------------------

LOSSES = Registry("loss")
OF_CLASSES = (softmax_cross_entropy, sigmoid_cross_entropy)
OF_TARGETS = (l1, l2, huber)
for _loss in (*OF_CLASSES, *OF_TARGETS):
    LOSSES.register(_loss.__name__, _loss)


def create_loss(settings: Mapping, train: bool) -> Callable[..., Loss]:
    """(outputs, labels, mask) → Loss, as a config's `loss` section names it.

    Labels are smoothed in training alone.
    """
    own = {key: settings[key] for key in LOSSES.settings(settings["name"]) if key in settings}
    if not train:
        own.pop("label_smoothing", None)
    return partial(LOSSES.constructor(settings["name"], own), **own)


def l2_penalty(params, decayed=None) -> jax.Array:
    """½Σw² over the parameters that decay: its gradient is w itself. A scalar.

    Args:
      decayed: True for those that do, in the structure of the parameters; None: all.
    """
    if decayed is not None:
        params = jax.tree.map(lambda leaf, counts: leaf if counts else None, params, decayed)
    return 0.5 * optax.tree.norm(params, squared=True)
