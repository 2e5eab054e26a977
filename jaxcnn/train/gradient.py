"""The gradient of a batch, including microbatches, auxiliary heads and the L2 penalty."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxcnn.models.classifier import Classifier
from jaxcnn.train.losses import l2_penalty
from jaxcnn.train.recipe import Recipe

# parameters → ((objective, (means, batch statistics)), gradient)
BatchGradient = Callable[[Any], tuple[tuple[jax.Array, tuple[Any, Any]], Any]]


def batch_gradient(
    model: Classifier, recipe: Recipe, batch_stats: Any, batch: Mapping, dropout_key: jax.Array
) -> BatchGradient:
    """Returns the function from parameters to the objective on a batch and its gradient.

    The objective is the mean loss over the unmasked examples, plus `l2_regularization`·½Σw² over
    the parameters that decay, plus `model.aux_weight` times the loss of each auxiliary head. The
    reported loss excludes the penalty and the auxiliary heads; without label smoothing, it is
    comparable to the validation loss.

    With microbatches, each partial loss is divided by the count of the whole batch, so that the
    gradients add up to that of the whole batch. Batch normalisation acts on one microbatch at a
    time.

    Args:
      batch_stats: the running statistics before the batch.
      batch: 'image', 'label' and 'mask', on the devices; the labels may be mixed.
      dropout_key: the random key of the step.
    """
    parts, count, groups = recipe.microbatches, batch["mask"].sum(), recipe.groups

    def objective(params, batch_stats, part, key):
        """A microbatch's part of the objective; its metrics and new batch statistics."""
        logits, changed = model.apply(
            {
                "params": groups.without_frozen_gradients(params) if groups else params,
                "batch_stats": batch_stats,
            },
            part["image"],
            train=True,
            mutable=["batch_stats", "aux_logits"],
            rngs={"dropout": key},
        )
        label, mask = part["label"], part["mask"]
        loss = recipe.loss(logits, label, mask)
        share = loss.summed / count
        for (aux_logits,) in changed.get("aux_logits", {}).values():
            share += model.aux_weight * recipe.loss(aux_logits, label, mask).summed / count
        if recipe.l2_regularization is not None:
            decayed = groups and groups.decay_mask(params)
            share += recipe.l2_regularization * l2_penalty(params, decayed) / parts
        means = recipe.scoring.means(loss, logits, label, mask)
        return share, (means, changed.get("batch_stats", {}))

    of_part = jax.value_and_grad(objective, has_aux=True)

    if parts == 1:
        return lambda params: of_part(params, batch_stats, batch, dropout_key)
    return _of_parts(of_part, parts, batch_stats, batch, dropout_key)


def _of_parts(
    of_part: Callable, parts: int, batch_stats: Any, batch: Mapping, dropout_key: jax.Array
) -> BatchGradient:
    """The sum over microbatches; the batch statistics pass from one to the next."""
    # Every parts-th example, so that each microbatch is split across the devices like the batch.
    split = {
        key: jnp.moveaxis(leaf.reshape(-1, parts, *leaf.shape[1:]), 1, 0)
        for key, leaf in batch.items()
    }
    first = {key: leaf[0] for key, leaf in split.items()}

    def gradient(params):
        def add(carry, numbered_part):
            total, grads, batch_stats = carry
            number, part = numbered_part
            key = jax.random.fold_in(dropout_key, number)
            (share, (means, batch_stats)), part_grads = of_part(params, batch_stats, part, key)
            return (total + share, optax.tree.add(grads, part_grads), batch_stats), means

        (share, _), grads = jax.eval_shape(of_part, params, batch_stats, first, dropout_key)
        start = (*jax.tree.map(jnp.zeros_like, (share, grads)), batch_stats)
        (total, grads, new_stats), means = jax.lax.scan(add, start, (jnp.arange(parts), split))
        means = jax.tree.map(lambda leaf: leaf.sum(axis=0), means)  # adds totals and counts
        return (total, (means, new_stats)), grads

    return gradient
