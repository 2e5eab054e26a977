"""Losses. Each returns sum, count and per-example values, which masks and accumulation need."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from jaxcnn.limits import AT_LEAST_0, FRACTION, POSITIVE
from jaxcnn.registry import Registry


class Loss(NamedTuple):
    """A loss on a batch: the sum, the number of unmasked examples, and each (0 where masked)."""

    summed: jax.Array  # scalar
    count: jax.Array  # scalar
    per_example: jax.Array  # (batch,)


def _over(mask: jax.Array, per_example: jax.Array) -> Loss:
    per_example = jnp.where(mask, per_example, 0)
    return Loss(per_example.sum(), mask.sum(), per_example)


# --- for classes --------------------------------------------------------------------------------


def softmax_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    mask: jax.Array,
    label_smoothing: Annotated[float, FRACTION] = 0.0,
) -> Loss:
    """−Σₖ qₖ log softmax(logits)ₖ, with q = (1 − ε)·label + ε/C.

    Args:
      logits: (batch, classes), float32 or float64.
      labels: (batch,), int in [0, classes); or (batch, classes), probabilities.
      mask: (batch,), bool, True for the examples that count.
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
    """−Σₖ qₖ log σ(logits)ₖ + (1 − qₖ) log(1 − σ(logits)ₖ): a binary loss for each class.

    Arguments and label smoothing are those of `softmax_cross_entropy`. The loss is the sum over
    classes, whereas torch's BCEWithLogitsLoss takes the mean.
    """
    classes = logits.shape[1]
    targets = jax.nn.one_hot(labels, classes) if labels.ndim == 1 else labels
    targets = (1 - label_smoothing) * targets + label_smoothing / classes
    return _over(mask, optax.sigmoid_binary_cross_entropy(logits, targets).sum(axis=1))


def focal(
    logits: jax.Array,
    labels: jax.Array,
    mask: jax.Array,
    gamma: Annotated[float, AT_LEAST_0] = 2.0,
) -> Loss:
    """−Σₖ qₖ (1 − pₖ)^γ log pₖ, with p = softmax(logits) and the labels' probabilities q.

    Examples that are already right count less. Lin et al. 2017 define it for a sigmoid; with γ = 0 it
    is `softmax_cross_entropy`, whose arguments it takes.
    """
    log_p = jax.nn.log_softmax(logits)
    labels = jax.nn.one_hot(labels, logits.shape[1]) if labels.ndim == 1 else labels
    # (1 − p)^γ has no derivative at p = 1 for γ < 1; there the loss is 0.
    rest = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(log_p.dtype).tiny)
    return _over(mask, -(labels * rest**gamma * log_p).sum(axis=1))


def weighted(loss: Partial, class_weights: jax.Array) -> Partial:
    """A loss in which each example counts as often as its class's weight says.

    Args:
      class_weights: (classes,). Mixed labels have the mean of their classes' weights.
    """
    return Partial(_weighted, loss=loss, class_weights=class_weights)


def _weighted(logits, labels, mask, loss: Partial, class_weights) -> Loss:
    per_example = loss(logits, labels, mask).per_example
    weights = jnp.asarray(class_weights, per_example.dtype)
    return _over(mask, per_example * (weights[labels] if labels.ndim == 1 else labels @ weights))


# --- for regression targets ---------------------------------------------------------------------


def l1(outputs: jax.Array, targets: jax.Array, mask: jax.Array) -> Loss:
    """|output − target|, averaged over the entries of a target.

    Args:
      outputs: (batch, entries of a target).
      targets: (batch, …), of any shape.
      mask: (batch,), bool, True for the examples that count.
    """
    return _over(mask, _of_entries(jnp.abs, outputs, targets))


def l2(outputs: jax.Array, targets: jax.Array, mask: jax.Array) -> Loss:
    """(output − target)², averaged over the entries of a target; arguments as `l1`."""
    return _over(mask, _of_entries(jnp.square, outputs, targets))


def huber(
    outputs: jax.Array, targets: jax.Array, mask: jax.Array, delta: Annotated[float, POSITIVE] = 1.0
) -> Loss:
    """½e² where |e| ≤ δ, else δ(|e| − ½δ), e = output − target; Huber 1964; arguments as `l1`.

    Averaged over the entries of a target.
    """
    return _over(mask, _of_entries(partial(optax.huber_loss, delta=delta), outputs, targets))


def _of_entries(function: Callable, outputs: jax.Array, targets: jax.Array) -> jax.Array:
    errors = outputs.reshape(targets.shape) - targets
    return function(errors).reshape(len(targets), -1).mean(axis=1)


# --- by name ------------------------------------------------------------------------------------

LOSSES = Registry("loss")
OF_TARGETS: set[str] = set()  # names of the losses for targets; the others are for classes


def register_loss(name: str, loss: Callable[..., Loss] | None = None, targets: bool = False):
    """Registers a loss (outputs, labels, mask, **settings) → Loss; a decorator if `loss` is None.

    Args:
      targets: whether the loss is for regression targets, not classes.
    """
    if loss is None:
        return lambda loss: register_loss(name, loss, targets)
    LOSSES.register(name, loss)
    if targets:
        OF_TARGETS.add(name)
    return loss


OF_SOFTMAX = ("softmax_cross_entropy", "focal")  # whose probabilities are those of a softmax

for _loss in (softmax_cross_entropy, sigmoid_cross_entropy, focal):
    register_loss(_loss.__name__, _loss)
for _loss in (l1, l2, huber):
    register_loss(_loss.__name__, _loss, targets=True)


def losses_for(targets: bool) -> list[str]:
    """The names of the losses for regression targets, or else for classes."""
    return [name for name in LOSSES.names() if (name in OF_TARGETS) == targets]


def create_loss(settings: Mapping, train: bool) -> Partial:
    """Builds the function (outputs, labels, mask) → Loss that a config's `loss` section describes.

    Numbers are leaves of the returned pytree. Labels are smoothed only in training.
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
    """½Σw² over the parameters that decay, a scalar; its gradient is w.

    Args:
      decayed: a tree of the parameters' structure, True for those that decay; None: all.
    """
    if decayed is not None:
        params = jax.tree.map(lambda leaf, counts: leaf if counts else None, params, decayed)
    return 0.5 * optax.tree.norm(params, squared=True)
