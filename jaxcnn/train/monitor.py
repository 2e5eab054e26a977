"""What the layers of a network do while it trains: norms, updates, dead units."""

import math
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from jaxcnn.data.feeding.device import DeviceFeed
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.models.classifier import Classifier
from jaxcnn.models.flow import traced_flow
from jaxcnn.programs import made_once
from jaxcnn.train.experiment import Experiment
from jaxcnn.train.recipe import Recipe
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import dropout_key, gradient_of_step, make_train_step, mixed_batch

_BINS = 30


class Layers(NamedTuple):
    """What the layers do in one step. What is not finite is left out.

    Attributes:
      numbers: 'gradient_norm/PATH', before clipping, 'weight_norm/PATH', 'update_norm/PATH' and
        'update_ratio/PATH', the update's norm over the weight's, for each parameter; 'dead/PATH',
        the share of the units of the ReLU after a layer that are 0 for the whole batch, everywhere.
      histograms: of 'gradient/PATH', 'weight/PATH' and 'update/PATH', by the names that TensorBoard
        gives to a histogram's fields; empty unless asked for.
    """

    numbers: dict[str, float]
    histograms: dict[str, dict]


class Monitor:
    """Looks at the step that a run takes next, and leaves the run as it is."""

    def __init__(self, experiment: Experiment, feed: HostFeed | DeviceFeed, histograms: bool):
        self._feed, recipe = feed, experiment.recipe
        self._recipe = feed.layout.put(recipe, feed.layout.numbers)
        self._look = jax.jit(
            make_look(experiment.model, histograms),
            out_shardings=feed.layout.replicated,
            compiler_options=experiment.compiler_options,
        )

    def layers(self, state: TrainState, step: int) -> Layers:
        """What the layers do in the step that follows `step`, at which the state is."""
        with closing(self._feed.train_batches(step)) as batches:
            numbers, histograms = jax.device_get(self._look(state, next(batches), self._recipe))
        numbers = {name: float(number) for name, number in numbers.items()}
        finite = {name: number for name, number in numbers.items() if math.isfinite(number)}
        whole = {
            name: jax.tree.map(lambda leaf: leaf.tolist(), fields)
            for name, fields in histograms.items()
            if math.isfinite(fields["sum_squares"])
        }
        return Layers(finite, whole)


@made_once
def make_look(model: Classifier, histograms: bool) -> Callable[..., Layers]:
    """Returns `look(state, batch, recipe) → Layers` of arrays, for the step of a batch."""
    step = make_train_step(model)

    def look(state: TrainState, batch: dict, recipe: Recipe) -> Layers:
        _, grads = gradient_of_step(model, state, batch, recipe)(state.params)
        after, _ = step(state, batch, recipe)
        updates = jax.tree.map(jnp.subtract, after.params, state.params)
        arrays = {"gradient": grads, "weight": state.params, "update": updates}
        norms = {kind: _norms(tree) for kind, tree in arrays.items()}
        numbers = {f"{kind}_norm/{path}": n for kind in norms for path, n in norms[kind].items()}
        for path, norm in norms["update"].items():
            numbers[f"update_ratio/{path}"] = norm / norms["weight"][path]
        images = mixed_batch(model, state, batch, recipe)["image"][:: recipe.microbatches]
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        flow = traced_flow(model, variables, images, dropout_key(state))
        numbers |= {f"dead/{path}": share for path, share in flow.dead.items()}
        return Layers(numbers, _histograms(arrays) if histograms else {})

    return look


def _norms(tree: Any) -> dict[str, jax.Array]:
    return {path: jnp.linalg.norm(leaf.ravel()) for path, leaf in _by_path(tree)}


def _histograms(arrays: Mapping[str, Any]) -> dict[str, dict]:
    named = ((f"{kind}/{path}", leaf) for kind in arrays for path, leaf in _by_path(arrays[kind]))
    return {name: _histogram(leaf.ravel()) for name, leaf in named}


def _by_path(tree: Any) -> list[tuple[str, jax.Array]]:
    return list(flatten_dict(tree, sep="/").items())


def _histogram(values: jax.Array) -> dict[str, jax.Array]:
    counts, edges = jnp.histogram(values, bins=_BINS)
    return {
        "min": values.min(),
        "max": values.max(),
        "num": jnp.asarray(values.size, jnp.float32),
        "sum": values.sum(),
        "sum_squares": jnp.square(values).sum(),
        "bucket_limit": edges[1:],
        "bucket": counts,
    }
