"""Exact evaluation: every example counts once, whatever the batch size and number of devices."""

from collections.abc import Callable, Mapping
from contextlib import closing

from jaxcnn.data.feeding.device import DeviceFeed
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.train.metrics import Means, merge
from jaxcnn.train.recipe import Scoring


def evaluate(
    eval_step: Callable[[Mapping, dict, Scoring], Means],
    variables: Mapping,
    scoring: Scoring,
    feed: HostFeed | DeviceFeed,
    split: str,
    batch_size: int,
) -> dict[str, float | int]:
    """Evaluates a split.

    Args:
      eval_step: compiled `make_eval_step`.
      variables: {'params', 'batch_stats'}.
      scoring: on the devices.
      batch_size: at most so many examples at once; rounded up to a multiple of the devices.

    Returns:
      Each metric by name, and 'count', the number of examples.
    """
    batch_size = min(batch_size, feed.dataset.spec.sizes[split])
    batch_size += -batch_size % feed.layout.replicas
    total = None
    with closing(feed.eval_batches(split, batch_size)) as batches:
        for batch in batches:
            metrics = eval_step(variables, batch, scoring)
            total = metrics if total is None else merge(total, metrics)
    return total.read()
