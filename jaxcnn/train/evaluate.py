"""Exact evaluation: every example counts once, for any batch size and number of devices."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing

import jax
import numpy as np

from jaxcnn.data.feeding.device import DeviceFeed
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.train.batch_stats import make_statistics_step, reestimate
from jaxcnn.train.experiment import Experiment
from jaxcnn.train.metrics import Means, merge
from jaxcnn.train.recipe import Scoring
from jaxcnn.train.state import TrainState, evaluation_variables
from jaxcnn.train.step import make_eval_step


def evaluate_split(
    eval_step: Callable[[Mapping, dict, Scoring], Means],
    variables: Mapping,
    scoring: Scoring,
    feed: HostFeed | DeviceFeed,
    split: str,
    batch_size: int,
) -> dict[str, float | int]:
    """Evaluates a split.

    Args:
      eval_step: `make_eval_step(model)`, compiled.
      variables: {'params', 'batch_stats'}.
      scoring: on the devices.
      batch_size: maximum number of examples per batch, rounded up to a multiple of the devices.

    Returns:
      Each metric by name, and 'count', the number of examples.
    """
    total = None
    with _batches_of(feed, split, batch_size) as batches:
        for batch in batches:
            metrics = eval_step(variables, batch, scoring)
            total = metrics if total is None else merge(total, metrics)
    return total.read()


def outputs_of_split(
    answer: Callable[[Mapping, dict], jax.Array],
    variables: Mapping,
    feed: HostFeed | DeviceFeed,
    split: str,
    batch_size: int,
) -> np.ndarray:
    """What a compiled function gives for each image of a split, in order: (images, …).

    Args:
      answer: (variables, batch) → (batch, …).
      variables, feed, split, batch_size: as `evaluate_split`.
    """
    found = []
    with _batches_of(feed, split, batch_size) as batches:
        for batch in batches:
            found.append(np.asarray(answer(variables, batch))[np.asarray(batch["mask"])])
    return np.concatenate(found)


def _batches_of(
    feed: HostFeed | DeviceFeed, split: str, batch_size: int
) -> AbstractContextManager[Iterator[dict]]:
    """A context with one pass over a split, in batches that the devices can share."""
    batch_size = min(batch_size, feed.dataset.spec.sizes[split])
    batch_size += -batch_size % feed.layout.replicas
    return closing(feed.eval_batches(split, batch_size))


class Evaluator:
    """Evaluates states of a run with steps that are compiled once."""

    def __init__(self, experiment: Experiment, feed: HostFeed | DeviceFeed, batch_size: int):
        """`batch_size`: the maximum number of examples in an evaluation batch."""
        self._experiment, self._feed, self._batch_size = experiment, feed, batch_size
        self._scoring = feed.layout.replicate(experiment.recipe.scoring)
        model, options = experiment.model, experiment.compiler_options
        self._step = jax.jit(make_eval_step(model), compiler_options=options)
        self._statistics_step = jax.jit(make_statistics_step(model), compiler_options=options)

    def on(self, split: str, variables: Mapping) -> dict[str, float | int]:
        """Evaluates a split; returns each metric by name, and 'count'."""
        return evaluate_split(
            self._step, variables, self._scoring, self._feed, split, self._batch_size
        )

    def held_out(self, variables: Mapping) -> dict[str, dict]:
        """The metrics on the validation and test splits, if the data has them, by split."""
        held_out = (split for split in ("validation", "test") if split in self._feed.dataset.splits)
        return {split: self.on(split, variables) for split in held_out}

    def with_batch_stats(self, state: TrainState, step: int) -> TrainState:
        """The state with re-estimated evaluation statistics, over an epoch from `step`.

        The state is returned unchanged unless `averaging.batch_stats` is 'reestimated'.
        """
        if self._experiment.recipe.averaging.batch_stats != "reestimated":
            return state
        length = self._experiment.length
        count = math.ceil(length.examples / length.batch_size)
        with closing(self._feed.train_batches(step)) as batches:
            epoch, variables = itertools.islice(batches, count), evaluation_variables(state)
            batch_stats = reestimate(self._statistics_step, variables, epoch)
        return state.replace(eval_batch_stats=batch_stats)
