"""Exact evaluation: every example counts once, whatever the batch size and number of devices."""

from collections.abc import Callable, Mapping
from contextlib import closing

from jaxcnn.train.feed import DeviceFeed, HostFeed
from jaxcnn.train.metrics import Means, merge


def evaluate(
    eval_step: Callable[[Mapping, dict], Means],
    variables: Mapping,
    feed: HostFeed | DeviceFeed,
    split: str,
    batch_size: int,
) -> dict[str, float | int]:
    """Evaluates a split.

    Args:
      eval_step: compiled `make_eval_step`.
      variables: {'params', 'batch_stats'}.
      batch_size: at most so many examples at once; rounded up to a multiple of the devices.

    Returns:
      Each metric of the eval step's by name, and 'count', the number of examples.
    """
    batch_size = min(batch_size, len(feed.dataset.splits[split]))
    batch_size += -batch_size % feed.mesh.size
    total = None
    with closing(feed.eval_batches(split, batch_size)) as batches:
        for batch in batches:
            metrics = eval_step(variables, batch)
            total = metrics if total is None else merge(total, metrics)
    return total.read()
