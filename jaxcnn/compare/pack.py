"""Several runs in one program: the state, hyperparameters and batches get a leading axis of trials.

Each run keeps its own directory, judge, history and checkpoints. Up to float rounding, it computes the
same as by itself, whatever the other runs of its pack do.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxcnn.data.augment.base import Augmentation
from jaxcnn.data.feeding.device import DeviceFeed, DeviceSplit, batch_of
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.data.feeding.selection import Selection
from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError
from jaxcnn.layout import Layout, abstract
from jaxcnn.optim.chain import hyperparameters
from jaxcnn.programs import made_once
from jaxcnn.train.engine import DeviceEngine, Engine
from jaxcnn.train.judge import DivergedError
from jaxcnn.train.loop import Run
from jaxcnn.train.metrics import Reading
from jaxcnn.train.preemption import Preemption
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import TrainStep, make_train_step
from jaxcnn.train.workdir import Workdir


@dataclass(frozen=True)
class PackLayout(Layout):
    """Devices along the axis 'trial', each with its share of the trials. `vmap` and `map` use one."""

    @classmethod
    def over(cls, devices: Sequence[jax.Device]) -> "PackLayout":
        return cls(Mesh(np.array(devices), ("trial",), axis_types=(AxisType.Auto,)))

    @property
    def numbers(self) -> NamedSharding:
        """The leading axis split evenly across the devices."""
        return NamedSharding(self.mesh, PartitionSpec("trial"))

    batch = batches = numbers


@made_once
def packed_step(step: TrainStep, way: str, layout: PackLayout) -> TrainStep:
    """Returns a step of all trials of a pack; arguments and results have a leading axis of trials.

    Args:
      way: 'vmap', all at once; 'map', one trial after another; 'shard_map', one after another on
        each device, without communication between devices.
    """
    if way == "vmap":
        return jax.vmap(step)

    def one_by_one(*arguments):
        return jax.lax.map(lambda trial: step(*trial), arguments)

    if way == "map":
        return one_by_one
    axis = PartitionSpec("trial")
    return jax.shard_map(
        one_by_one, mesh=layout.mesh, in_specs=axis, out_specs=axis, check_vma=False
    )


def pack_engine(
    runs: Sequence[Run], states: Sequence[TrainState], way: str, layout: PackLayout
) -> Engine:
    """Returns an engine for the stacked states, recipes and batches of all runs."""
    step = make_train_step(runs[0].experiment.model)
    feeds = [run.feed for run in runs]
    on_device = isinstance(feeds[0], DeviceFeed)
    feed = (_DevicePackFeed if on_device else _HostPackFeed)(feeds, layout)
    state = jax.device_put(stacked(states), layout.numbers)
    recipe = stacked([run.experiment.recipe for run in runs])
    engine = DeviceEngine if on_device else Engine
    options = runs[0].experiment.compiler_options
    return engine(packed_step(step, way, layout), state, recipe, feed, options)


def stacked(trees: Sequence[Any]) -> Any:
    """Stacks trees of the same structure along a new leading axis of every leaf."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(_on_one_device, trees))


def _on_one_device(tree: Any) -> Any:
    """Moves leaves to the first device: those on different devices cannot be stacked."""
    return jax.device_put(tree, jax.local_devices()[0])


class _HostPackFeed:
    """Stacked batches from the host."""

    def __init__(self, feeds: Sequence[HostFeed], layout: PackLayout):
        self.feeds, self.layout = feeds, layout

    def abstract_batch(self) -> dict[str, jax.ShapeDtypeStruct]:
        one, trials = self.feeds[0].abstract_batch(), len(self.feeds)
        return {
            key: jax.ShapeDtypeStruct(
                (trials, *part.shape), part.dtype, sharding=self.layout.numbers
            )
            for key, part in one.items()
        }

    def train_batches(self, start_step: int) -> Iterator[dict]:
        with ExitStack() as stack:
            batches = [feed.train_batches(start_step) for feed in self.feeds]
            for each in batches:
                stack.enter_context(closing(each))
            for together in zip(*batches, strict=True):
                yield jax.device_put(stacked(together), self.layout.numbers)


class _DevicePackFeed:
    """One copy of the data on the devices, from which each trial selects its own batches."""

    def __init__(self, feeds: Sequence[DeviceFeed], layout: PackLayout):
        self.feeds, self.layout = feeds, layout
        self.steps_per_dispatch = feeds[0].steps_per_dispatch
        dataset, augmentations = feeds[0].dataset, feeds[0].augmentations
        self.batch = _batches_of(dataset.spec, augmentations, layout)
        split = dataset.splits["train"]
        self._train = layout.replicate(DeviceSplit(split.images, split.labels))

    def split(self, name: str) -> DeviceSplit:
        del name  # an engine asks for the training split only
        return self._train

    def abstract_inputs(self) -> tuple[DeviceSplit, Selection]:
        of_train = abstract(self._train, self.layout.replicated)
        return of_train, abstract(self.selections(0), self.layout.numbers)

    def selections(self, start_step: int) -> Selection:
        each = [feed.selections(start_step) for feed in self.feeds]
        return jax.device_put(stacked(each), self.layout.numbers)


@made_once
def _batches_of(
    spec: DataSpec, augmentations: tuple[Augmentation, ...], layout: PackLayout
) -> Callable[..., dict]:
    """Returns a function (split, selections, number) → batches of all trials at that selected step."""

    @jax.jit
    def batches(split, selections, number=0):
        selected = jax.tree.map(lambda array: array[:, number], selections)
        made = jax.vmap(lambda selection: batch_of(split, selection, spec, augmentations))(selected)
        return jax.lax.with_sharding_constraint(made, layout.numbers)

    return batches


class Lane:
    """One trial of a pack's engine, with the interface that a run needs between steps."""

    def __init__(self, engine: Engine, number: int, layout: Layout):
        self._engine, self._number, self._layout = engine, number, layout
        self._given: TrainState | None = None

    @property
    def state(self) -> TrainState:
        """The state of the trial, on the device of its run."""
        mine = jax.tree.map(lambda leaf: _trial(leaf, self._number), self._engine.state)
        self._given = self._layout.replicate(mine)
        return self._given

    @state.setter
    def state(self, state: TrainState) -> None:
        if state is self._given:
            return
        self._engine.state = jax.tree.map(
            lambda leaf, new: _with_trial(leaf, self._number, new), self._engine.state, state
        )

    def peek(self) -> list[Reading]:
        """Returns the trial's metrics since they were read last; [] if there are none."""
        return self._engine.peek()[self._number : self._number + 1]

    def learning_rate(self) -> float:
        """Returns the learning rate of the trial's last step."""
        used = hyperparameters(self._engine.state.opt_state)["learning_rate"]
        return float(jax.device_get(used)[self._number])

    def scale_learning_rate(self, scale: float) -> None:
        """Sets the factor on the scheduled learning rate for later steps of the trial."""
        opt_state = self._engine.state.opt_state
        scales = _with_trial(opt_state.scale, self._number, jnp.asarray(scale))
        self._engine.state = self._engine.state.replace(opt_state=opt_state._replace(scale=scales))

    def close(self) -> None:
        """Does nothing: the pack closes its engine."""


def _trial(leaf: jax.Array, number: int) -> jax.Array:
    """Returns one trial's slice of a leaf, on the device that holds it.

    Indexing the leaf itself would run a program on all devices, which wait for each other.
    """
    shard, place = _shard_of(leaf, number)
    return shard.data[place]


def _with_trial(leaf: jax.Array, number: int, new: jax.Array) -> jax.Array:
    """Returns the leaf with a new slice for one trial; changes only the shard of that trial."""
    changed, place = _shard_of(leaf, number)
    new = jax.device_put(new, changed.device)
    shards = [
        shard.data.at[place].set(new) if shard.device == changed.device else shard.data
        for shard in leaf.addressable_shards
    ]
    return jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, shards)


def _shard_of(leaf: jax.Array, number: int) -> tuple[jax.Shard, int]:
    """Returns the shard that holds a trial, and the index of the trial in it."""
    for shard in leaf.addressable_shards:
        trials = range(len(leaf))[shard.index[0]]
        if number in trials:
            return shard, trials.index(number)
    raise AssertionError(f"no shard of {leaf.sharding} holds trial {number}")


def train_pack(runs: Sequence[Run], way: str, layout: PackLayout, size: int) -> bool:
    """Trains runs that differ only in numbers and seeds; returns whether a signal stopped them.

    Args:
      runs: opened but not started, each on one device, with checkpoints of the same step.
      way: see `packed_step`.
      size: trials in the program. Copies of the first run replace those that ended before a
        restart, so that the results of the others do not change.

    Raises:
      UserError: the checkpoints are of different steps.
    """
    if any(run.config.train.on_divergence == "rollback" for run in runs):
        raise UserError(
            f"config.train.on_divergence='rollback': a trial of way={way!r} cannot go back without the "
            "others of its program; use way='sequential', or on_divergence='stop'"
        )
    states = [run.restored_or_new() for run in runs]
    if len({run.step for run in runs}) > 1:
        steps = ", ".join(f"{run.directory.path}: {run.step}" for run in runs)
        raise UserError(f"the checkpoints of a pack are of different steps ({steps}); remove them")
    lanes = [*range(len(runs)), *[0] * (size - len(runs))]
    engine = pack_engine([runs[i] for i in lanes], [states[i] for i in lanes], way, layout)
    for number, run in enumerate(runs):
        run.engine = Lane(engine, number, run.layout)
        run.notify_start()
    engine.compile()
    engine.go_on_from([runs[i].keeper.parts for i in lanes])
    with Preemption() as preemption, closing(engine):
        engine.start(runs[0].step)
        live = dict(enumerate(runs))
        while live:
            one = next(iter(live.values()))
            taken = engine.advance(one.next_event() - one.step)
            due = [run.arrive(taken, preemption.requested) for run in live.values()]
            if any(due):
                readings = engine.read()
                live = {i: run for i, run in live.items() if not _ends(run, readings[i])}
        return preemption.requested


def _ends(run: Run, reading: Reading) -> bool:
    """Reviews a run after a step with an event; finishes the run if it is over."""
    try:
        run.review(reading)
        if run.over:
            run.finish(run.status())
    except DivergedError:
        run.finish("diverged")
        return True
    return run.over


def align(directories: Sequence[Workdir]) -> None:
    """Removes checkpoints that a killed pack saved for only some of its runs."""
    steps = {directory: _checkpoints(directory) for directory in directories}
    common = min(max(found, default=0) for found in steps.values())
    for directory, found in steps.items():
        for step in found:
            if step > common:
                shutil.rmtree(directory.latest / str(step))


def _checkpoints(directory: Workdir) -> list[int]:
    return [int(entry.name) for entry in directory.latest.glob("*") if entry.name.isdigit()]
