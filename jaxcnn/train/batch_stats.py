"""Re-estimation of batch normalisation statistics, for averaged weights."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn.models.classifier import Classifier
from jaxcnn.programs import made_once


@made_once
def make_statistics_step(model: Classifier) -> Callable[[Any, Mapping, dict, jax.Array], Any]:
    """Returns `step(running, variables, batch, number) → running`: means over batches 0 … number.

    The statistics of each batch are computed in training mode, with dropout, as by torch's
    update_bn.
    """
    one_batch_model = model.clone(batch_norm_momentum=0.0)

    def step(running, variables: Mapping, batch: dict, number: jax.Array):
        _, changed = one_batch_model.apply(
            variables,
            batch["image"],
            train=True,
            mutable=["batch_stats", "aux_logits"],
            rngs={"dropout": jax.random.fold_in(jax.random.key(0), number)},
        )
        return jax.tree.map(
            lambda mean, new: jnp.where(number == 0, new, mean + (new - mean) / (number + 1)),
            running,
            changed["batch_stats"],
        )

    return step


def reestimate(step: Callable, variables: Mapping, batches: Iterable[dict]) -> Any:
    """The mean batch statistics of `variables` over batches.

    Args:
      step: `make_statistics_step(model)`, compiled.
      variables: {'params', 'batch_stats'}.
      batches: on the devices.
    """
    running, number = variables["batch_stats"], jnp.zeros((), jnp.int32)
    for batch in batches:
        running, number = step(running, variables, batch, number), number + 1
    return running
