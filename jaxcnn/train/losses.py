"""Losses. Each returns its sum, its count and its parts, so that masks and accumulation compose."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from jaxcnn.limits import FRACTION, POSITIVE
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
    logits: jax.Array,
    labels: jax.Array,
    mask: jax.Array,
    label_smoothing: Annotated[float, FRACTION] = 0.0,
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
    logits: jax.Array,
    labels: jax.Array,
    mask: jax.Array,
    label_smoothing: Annotated[float, FRACTION] = 0.0,
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


def huber(
    outputs: jax.Array, targets: jax.Array, mask: jax.Array, delta: Annotated[float, POSITIVE] = 1.0
) -> Loss:
    """½e² where |e| ≤ δ, else δ(|e| − ½δ), e = output − target; Huber 1964. Takes what `l1` takes."""
    return _over(mask, _of_entries(partial(optax.huber_loss, delta=delta), outputs, targets))


def _of_entries(function: Callable, outputs: jax.Array, targets: jax.Array) -> jax.Array:
    errors = outputs.reshape(targets.shape) - targets
    return function(errors).reshape(len(targets), -1).mean(axis=1)


# --- by name ------------------------------------------------------------------------------------

LOSSES = Registry("loss")
OF_TARGETS: set[str] = set()  # the names of those that are for targets; the others are for classes


def register_loss(name: str, loss: Callable[..., Loss] | None = None, targets: bool = False):
    """Adds a loss (outputs, labels, mask, **settings) → Loss; a decorator where none is given.

    Args:
      targets: whether it is for targets of a regression, not for classes.
    """
    if loss is None:
        return lambda loss: register_loss(name, loss, targets)
    LOSSES.register(name, loss)
    if targets:
        OF_TARGETS.add(name)
    return loss


for _loss in (softmax_cross_entropy, sigmoid_cross_entropy):
    register_loss(_loss.__name__, _loss)
for _loss in (l1, l2, huber):
    register_loss(_loss.__name__, _loss, targets=True)


def losses_for(targets: bool) -> list[str]:
    """The names of the losses for targets, or for classes."""
    return [name for name in LOSSES.names() if (name in OF_TARGETS) == targets]


def create_loss(settings: Mapping, train: bool) -> Partial:
    """(outputs, labels, mask) → Loss, as a config's `loss` section names it.

    Its numbers are leaves of the returned pytree. Labels are smoothed in training alone.
    """
    name = settings["name"]
    chosen = {key: settings[key] for key in LOSSES.settings(name) if key in settings}
    if not train:
        chosen.pop("label_smoothing", None)
    loss = LOSSES.constructor(name, chosen)
    numbers = {key: value for key, value in chosen.items() if isinstance(value, float)}
    others = {key: value for key, value in chosen.items() if key not in numbers}
    return Partial(partial(loss, **others) if others else loss, **numbers)


def l2_penalty(params, decayed=None) -> jax.Array:
    """½Σw² over the parameters that decay: its gradient is w itself. A scalar.

    Args:
      decayed: True for those that do, in the structure of the parameters; None: all.
    """
    if decayed is not None:
        params = jax.tree.map(lambda leaf, counts: leaf if counts else None, params, decayed)
    return 0.5 * optax.tree.norm(params, squared=True)
