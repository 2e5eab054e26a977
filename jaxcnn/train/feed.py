"""How a run gets its batches: made on the host, or made on the devices, where the data lies."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from jaxcnn.data.augment.base import Augmentation
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.device import DeviceSplit, batch_of, check_placement
from jaxcnn.data.feeding.host import Maker, abstract_batch, batch_maker, eval_batches, train_batches
from jaxcnn.data.feeding.prefetch import prefetch
from jaxcnn.data.feeding.selection import Host, Selection, eval_selection, train_selection
from jaxcnn.layout import put_batch, replicated, split_by_example
from jaxcnn.train.experiment import Experiment
from jaxcnn.train.metrics import TrainMetrics, merge
from jaxcnn.train.recipe import Recipe
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import compile_step, make_train_step

# By platform; 16 on any other. A signal waits for the end of a dispatch, and a CPU gains nothing by it.
STEPS_PER_DISPATCH = {"cpu": 1}

# (state, metrics of the steps before or None, at most so many steps) → (state, metrics, steps taken)
Advance = Callable[[TrainState, TrainMetrics | None, int], tuple[TrainState, TrainMetrics, int]]


class HostFeed:
    """Batches that the host makes while the devices compute; steps are dispatched one by one.

    Args:
      augmentations, batch_size, seed: of training; the seed is that of order and augmentation.
    """

    def __init__(
        self,
        dataset: Dataset,
        mesh: Mesh,
        augmentations: Sequence[Augmentation] = (),
        batch_size: int = 1,
        seed: int = 0,
    ):
        self.dataset, self.mesh, self._batch_size = dataset, mesh, batch_size
        self._augmentations, self._seed = augmentations, seed
        self._host = Host(jax.process_index(), jax.process_count())
        self._makers: dict[tuple[str, bool], Maker] = {}
        self.train_step = None

    def train_batches(self, start_step: int) -> Iterator[dict]:
        """Endless batches on the devices, some ahead of who takes them; to be closed."""
        maker = self._maker("train", self._augmentations)
        of_training = self.dataset, self._augmentations, self._batch_size, self._seed
        return self._on_device(train_batches(*of_training, start_step, self._host, maker))

    def eval_batches(self, split: str, batch_size: int) -> Iterator[dict]:
        """A split once, in batches of `batch_size`, which divides by the devices; to be closed."""
        maker = self._maker(split, ())
        return self._on_device(eval_batches(self.dataset, split, batch_size, self._host, maker))

    def compile(self, model: nn.Module, recipe: Recipe, state: TrainState) -> None:
        """Compiles the training step for this feed's batches, ahead of time."""
        batch = abstract_batch(self.dataset, self._batch_size, split_by_example(self.mesh))
        self.train_step = compile_step(model, recipe, state, batch, replicated(self.mesh))

    @contextmanager
    def from_step(self, start_step: int) -> Iterator[Advance]:
        """Yields what takes the steps from there on; the state is donated to it."""

        def advance(state, metrics, limit):
            state, own = self.train_step(state, next(batches))
            return state, own if metrics is None else merge(metrics, own), 1

        with closing(self.train_batches(start_step)) as batches:
            yield advance

    def _maker(self, split: str, augmentations: Sequence[Augmentation]) -> Maker:
        """What makes a split's batches, kept with what it compiled."""
        key = split, bool(augmentations)
        if key not in self._makers:
            self._makers[key] = batch_maker(self.dataset, split, augmentations)
        return self._makers[key]

    def _on_device(self, batches: Iterator[dict]) -> Iterator[dict]:
        return prefetch(batches, lambda batch: put_batch(batch, self.mesh))


class DeviceFeed:
    """Data that lies on the devices as it is stored, and several steps on it in one dispatch.

    The host sends which examples a batch holds and their augmentation's numbers, nothing else. A
    program takes any number of steps up to `steps_per_dispatch`, so that how they are grouped does not
    change their bits.
    """

    def __init__(
        self,
        dataset: Dataset,
        mesh: Mesh,
        augmentations: Sequence[Augmentation],
        batch_size: int,
        seed: int,
    ):
        check_placement(dataset)
        self.steps_per_dispatch = STEPS_PER_DISPATCH.get(jax.default_backend(), 16)
        self.dataset, self.mesh, self._augmentations = dataset, mesh, augmentations
        examples = len(dataset.splits["train"])
        self._select = train_selection(examples, augmentations, batch_size, seed)
        self._splits: dict[str, DeviceSplit] = {}
        self._train_batch, self._eval_batch = self._maker(augmentations), self._maker(())
        self.train_steps = self._no_metrics = None

    def train_batches(self, start_step: int) -> Iterator[dict]:
        """Endless batches on the devices."""
        split = self._split("train")
        for step in itertools.count(start_step):
            yield self._train_batch(split, self._put(self._select([step])))

    def eval_batches(self, split: str, batch_size: int) -> Iterator[dict]:
        """A split once, in batches of `batch_size`, which divides by the devices."""
        examples = len(self.dataset.splits[split])
        select, on_device = eval_selection(examples, batch_size), self._split(split)
        for step in range(-(-examples // batch_size)):
            yield self._eval_batch(on_device, self._put(select([step])))

    def compile(self, model: nn.Module, recipe: Recipe, state: TrainState) -> None:
        """Compiles the training steps of a dispatch, ahead of time."""
        train_step = make_train_step(model, recipe)

        def train_steps(state, metrics, split, selections, count):
            def step(number, carry):
                state, metrics = carry
                state, own = train_step(state, self._train_batch(split, selections, number))
                return state, metrics.merge(own)

            return jax.lax.fori_loop(0, count, step, (state, metrics))

        everywhere = replicated(self.mesh)
        split = self._split("train")
        selections = self._put(self._select(range(self.steps_per_dispatch)))
        batch = jax.eval_shape(self._train_batch, split, selections)
        _, metrics = jax.eval_shape(train_step, state, batch)
        self._no_metrics = jax.device_put(TrainMetrics.none_yet(metrics), everywhere)
        jitted = jax.jit(train_steps, donate_argnums=0, out_shardings=everywhere)
        count = jax.device_put(np.int32(1), everywhere)
        inputs = state, self._no_metrics, split, selections, count
        self.train_steps = jitted.lower(*inputs).compile()

    @contextmanager
    def from_step(self, start_step: int) -> Iterator[Advance]:
        """Yields what takes the steps from there on; the state is donated to it."""
        next_step, split = start_step, self._split("train")

        def advance(state, metrics, limit):
            nonlocal next_step
            count = min(limit, self.steps_per_dispatch)
            # As many as a program takes, of which it goes through `count`.
            steps = range(next_step, next_step + self.steps_per_dispatch)
            selections = self._put(self._select(steps))
            number = jax.device_put(np.int32(count), replicated(self.mesh))
            before = self._no_metrics if metrics is None else metrics
            state, metrics = self.train_steps(state, before, split, selections, number)
            next_step += count
            return state, metrics, count

        yield advance

    def _split(self, name: str) -> DeviceSplit:
        """A split on the devices, where it stays."""
        if name not in self._splits:
            split = self.dataset.splits[name]
            split = DeviceSplit(split.images, split.labels)
            self._splits[name] = jax.device_put(split, replicated(self.mesh))
        return self._splits[name]

    def _put(self, selection: Selection) -> Selection:
        """A selection on the devices, each of which has its part of every batch."""
        by_example = NamedSharding(self.mesh, PartitionSpec(None, "data"))
        return jax.device_put(selection, by_example)

    def _maker(self, augmentations: Sequence[Augmentation]) -> Callable[..., dict]:
        """(split, selections, number) → the batch of the so-manieth of the selected steps."""

        @jax.jit
        def batch(split, selections, number=0):
            selection = jax.tree.map(lambda array: array[number], selections)
            made = batch_of(split, selection, self.dataset, augmentations)
            return jax.lax.with_sharding_constraint(made, split_by_example(self.mesh))

        return batch


def feed_for(
    config: ConfigDict, dataset: Dataset, experiment: Experiment, mesh: Mesh
) -> HostFeed | DeviceFeed:
    """The feed of a run, as `config.data.placement` says.

    Raises:
      UserError: the data cannot lie on a device.
    """
    feed = {"host": HostFeed, "device": DeviceFeed}[config.data.placement]
    batch_size = config.train.global_batch_size
    return feed(dataset, mesh, experiment.augmentations, batch_size, config.seed)
