"""Batch normalisation's statistics measured anew, for weights that no training step has seen."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn.models.classifier import Classifier


def make_statistics_step(model: Classifier) -> Callable[[Any, Mapping, dict, jax.Array], Any]:
    """Returns `step(running, variables, batch, number) → running`, the mean over batches 0 … number.

    A batch's own statistics are those of a training step, dropout included, as with torch's update_bn.
    """
    of_one_batch = model.clone(batch_norm_momentum=0.0)

    def step(running, variables: Mapping, batch: dict, number: jax.Array):
        _, changed = of_one_batch.apply(
            variables,
            batch["image"],
            train=True,
            mutable=["batch_stats", "aux_logits"],
            rngs={"dropout": jax.random.fold_in(jax.random.key(0), number)},
        )
        own = changed["batch_stats"]
        return jax.tree.map(
            lambda mean, new: jnp.where(number == 0, new, mean + (new - mean) / (number + 1)),
            running,
            own,
        )

    return step


def reestimate(step: Callable, variables: Mapping, batches: Iterable[dict]) -> Any:
    """The batch statistics of `variables`, as the mean over batches on the device.

    Args:
      step: compiled `make_statistics_step(model)`.
      variables: {'params', 'batch_stats'}.
    """
    running, number = variables["batch_stats"], jnp.zeros((), jnp.int32)
    for batch in batches:
        running, number = step(running, variables, batch, number), number + 1
    return running
