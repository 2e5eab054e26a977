"""Engines: the compiled training step, the state it updates and the feed of its batches."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxcnn.cpu.forms import forms_for
from jaxcnn.data.feeding.device import DeviceFeed
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.layout import abstract
from jaxcnn.optim.chain import hyperparameters
from jaxcnn.programs import made_once
from jaxcnn.train.metrics import Reading, TrainMetrics, merge
from jaxcnn.train.recipe import Recipe
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import TrainStep

log = logging.getLogger(__name__)


class Engine:
    """Runs training steps one at a time, on batches prepared on the host.

    The step can be any function (state, batch, recipe) → (state, metrics), such as that of
    `make_train_step`; its `jax.vmap` over the state trains several seeds in parallel. Each step
    donates `state`, so the arrays of an earlier state are deleted.
    """

    def __init__(
        self,
        step: TrainStep,
        state: TrainState,
        recipe: Recipe,
        feed: HostFeed | DeviceFeed,
        compiler_options: Mapping[str, Any] | None = None,
    ):
        self.state, self.feed, self._options = state, feed, compiler_options
        self._step, self._recipe = step, feed.layout.put(recipe, feed.layout.numbers)
        self._batches: Iterator[dict] | None = None
        self._metrics: TrainMetrics | None = None  # of all steps since the last `read`
        self._behind: TrainMetrics | None = None  # of the dispatch to wait for next
        self._program = None

    def compile(self) -> None:
        """Compiles the step ahead of time for the feed's batches."""
        log.info("compiling the training step")
        start = time.perf_counter()
        lowered = self.lowered(self._step, self.state, self._recipe, self.feed)
        self._metrics_like = lowered.out_info[1]
        self._program = lowered.compile(self._options)
        log.info("compiled in %.1f s", time.perf_counter() - start)

    @classmethod
    def lowered(
        cls, step: TrainStep, state: TrainState, recipe: Recipe, feed: HostFeed | DeviceFeed
    ) -> jax.stages.Lowered:
        """The program of an engine, ready to be compiled for the devices of the feed's layout.

        Args:
          state, recipe: arrays on the devices, or their shapes, dtypes and shardings.
        """
        shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
        jitted = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))
        with forms_for(feed.layout.platform):
            return jitted.lower(state, feed.abstract_batch(), recipe)

    def start(self, step: int) -> None:
        """Starts the feed at the batch of that step."""
        self.close()
        self._batches = self.feed.train_batches(step)

    def advance(self, limit: int) -> int:
        """Dispatches between one and `limit` steps; returns the number.

        At most two dispatches are in flight, one running and one queued, so that signals and the
        progress bar lag behind by two dispatches at most.
        """
        taken = self._dispatch(limit)
        jax.block_until_ready(self._behind)
        self._behind = self._metrics
        return taken

    def peek(self) -> list[Reading]:
        """Transfers the metrics of the steps since the last `read` from the device; [] of none."""
        return self._metrics.read() if self._metrics is not None else []

    def read(self) -> list[Reading]:
        """Like `peek`; begins new metrics."""
        readings, self._metrics = self.peek(), None
        return readings

    def go_on_from(self, parts: Sequence[Sequence[float] | None]) -> None:
        """Goes on with metrics that a checkpoint has: `Reading.parts` of each trial; None: none."""
        if None not in parts:
            metrics = TrainMetrics.of_parts(parts, self._metrics_like)
            self._metrics = self.feed.layout.put(metrics, self.feed.layout.numbers)

    def learning_rate(self) -> float:
        """The learning rate of the last step; transfers it from the device."""
        return float(jax.device_get(hyperparameters(self.state.opt_state)["learning_rate"]))

    def scale_learning_rate(self, scale: float) -> None:
        """Sets the factor by which later steps multiply the scheduled learning rate."""
        opt_state = self.state.opt_state
        former = opt_state.scale
        scale = jax.device_put(np.asarray(scale, former.dtype), former.sharding)
        self.state = self.state.replace(opt_state=opt_state._replace(scale=scale))

    def close(self) -> None:
        """Stops the feed."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def _dispatch(self, limit: int) -> int:
        del limit
        self.state, metrics = self._program(self.state, next(self._batches), self._recipe)
        self._metrics = metrics if self._metrics is None else merge(self._metrics, metrics)
        return 1


class DeviceEngine(Engine):
    """An engine for data stored on the devices: a dispatch makes batches and runs several steps.

    One program runs any number of steps up to the feed's `steps_per_dispatch`, so that the grouping
    of steps does not change the results by a bit.
    """

    feed: DeviceFeed

    def compile(self) -> None:
        self.feed.split("train")  # on the devices before the first step is timed
        metrics = _abstract_metrics(self._step, self.state, self._recipe, self.feed)
        layout = self.feed.layout
        self._no_metrics = layout.put(TrainMetrics.none_yet(metrics), layout.numbers)
        super().compile()

    @classmethod
    def lowered(cls, step, state, recipe, feed) -> jax.stages.Lowered:
        numbers, steps = feed.layout.numbers, _several_steps(step, feed.batch)
        shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
        jitted = jax.jit(steps, donate_argnums=0, out_shardings=(shardings, numbers))
        metrics = _abstract_metrics(step, state, recipe, feed)
        none_yet = abstract(jax.eval_shape(TrainMetrics.none_yet, metrics), numbers)
        count = jax.ShapeDtypeStruct((), np.int32, sharding=feed.layout.replicated)
        with forms_for(feed.layout.platform):
            return jitted.lower(state, none_yet, *feed.abstract_inputs(), count, recipe)

    def start(self, step: int) -> None:
        self._next_step = step

    def _dispatch(self, limit: int) -> int:
        feed, count = self.feed, min(limit, self.feed.steps_per_dispatch)
        # Always `steps_per_dispatch` selections, of which the program uses the first `count`.
        selections = feed.selections(self._next_step)
        before = self._no_metrics if self._metrics is None else self._metrics
        self.state, self._metrics = self._program(
            self.state, before, feed.split("train"), selections, self._count(count), self._recipe
        )
        self._next_step += count
        return count

    def _count(self, count: int) -> jax.Array:
        return self.feed.layout.replicate(np.int32(count))


def create_engine(
    step: TrainStep,
    state: TrainState,
    recipe: Recipe,
    feed: HostFeed | DeviceFeed,
    compiler_options: Mapping[str, Any] | None = None,
) -> Engine:
    """The engine for a feed; the options are XLA's, for the step."""
    return engine_for(feed)(step, state, recipe, feed, compiler_options)


def engine_for(feed: HostFeed | DeviceFeed) -> type[Engine]:
    """The class of the engine for a feed."""
    return DeviceEngine if isinstance(feed, DeviceFeed) else Engine


def _abstract_metrics(
    step: TrainStep, state: TrainState, recipe: Recipe, feed: DeviceFeed
) -> TrainMetrics:
    with forms_for(feed.layout.platform):
        batch = jax.eval_shape(feed.batch, *feed.abstract_inputs())
        return jax.eval_shape(step, state, batch, recipe)[1]


@made_once
def _several_steps(step: TrainStep, batch: Callable[..., dict]) -> Callable:
    """A function that makes `count` batches and takes a step on each."""

    def steps(state, metrics, split, selections, count, recipe):
        def one(number, carry):
            state, metrics = carry
            state, new = step(state, batch(split, selections, number), recipe)
            return state, metrics.merge(new)

        return jax.lax.fori_loop(0, count, one, (state, metrics))

    return steps
