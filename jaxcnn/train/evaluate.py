"""Exact evaluation: every example counts once, whatever the batch size and number of devices."""

from collections.abc import Callable, Mapping
from contextlib import closing

from jax.sharding import Mesh

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.pipeline import eval_batches
from jaxcnn.data.prefetch import prefetch
from jaxcnn.train.metrics import Means, merge
from jaxcnn.train.sharding import put_batch


def evaluate(
    eval_step: Callable[[Mapping, dict], Means],
    variables: Mapping,
    dataset: Dataset,
    split: str,
    batch_size: int,
    mesh: Mesh,
) -> dict[str, float | int]:
    """Evaluates a split.

    Args:
      eval_step: compiled `make_eval_step(model, recipe)`.
      variables: {'params', 'batch_stats'}.
      batch_size: at most so many examples at once; rounded up to a multiple of the devices.

    Returns:
      Each metric of the eval step's by name, and 'count', the number of examples.
    """
    batch_size = min(batch_size, len(dataset.splits[split]))
    batch_size += -batch_size % mesh.size
    total = None
    batches = eval_batches(dataset, split, batch_size)
    with closing(prefetch(batches, lambda batch: put_batch(batch, mesh))) as on_device:
        for batch in on_device:
            metrics = eval_step(variables, batch)
            total = metrics if total is None else merge(total, metrics)
    return total.read()
