"""Data stored on the devices; a compiled program makes its batches there."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import psutil

from jaxcnn.data.augment.arrays import jax_arrays
from jaxcnn.data.augment.base import Augmentation
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.preparation import preparation
from jaxcnn.data.feeding.selection import Selection, TrainSelection, eval_selection
from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError
from jaxcnn.layout import Layout, abstract
from jaxcnn.programs import made_once

SHARE_OF_MEMORY = 0.8  # leaves the rest for the network

# By platform, else 16. A signal waits for the dispatch to end, and a CPU gains nothing from more.
STEPS_PER_DISPATCH = {"cpu": 1}


class DeviceSplit(flax.struct.PyTreeNode):
    """A split on the devices: its images, uint8 or float32 as stored, and labels.

    Each device has all of them, or a share of the images.
    """

    images: jax.Array
    labels: jax.Array


class DeviceFeed:
    """Batches made on the devices from a data set stored there.

    The host sends only example indices and augmentation draws, for `steps_per_dispatch` steps at
    once. Trace `batch` into the program that runs the steps.

    Args:
      sharded: whether the images are split over the devices, and each batch is put together from all;
        else each device has a copy of them.
    """

    def __init__(
        self,
        dataset: Dataset,
        layout: Layout,
        augmentations: Sequence[Augmentation],
        batch_size: int,
        seed: int,
        sharded: bool = False,
    ):
        self._sharded = sharded and layout.replicas > 1
        check_placement(dataset, layout.replicas if self._sharded else 1)
        self.steps_per_dispatch = STEPS_PER_DISPATCH.get(layout.platform, 16)
        self.dataset, self.layout = dataset, layout
        examples = len(dataset.splits["train"])
        self._select = TrainSelection(examples, augmentations, batch_size, seed)
        self._splits: dict[str, DeviceSplit] = {}
        spec = dataset.spec
        self.augmentations = tuple(augmentations)
        self.batch = _batch_maker(spec, self.augmentations, layout, self._sharded)
        self._eval_batch = _batch_maker(spec, (), layout, self._sharded)

    def train_batches(self, start_step: int) -> Iterator[dict]:
        """Endless training batches, starting at `start_step`."""
        split = self.split("train")
        for step in itertools.count(start_step):
            yield self.batch(split, self._put(self._select([step])))

    def eval_batches(self, split: str, batch_size: int) -> Iterator[dict]:
        """One pass over a split in batches of `batch_size`, a multiple of the device count."""
        examples = len(self.dataset.splits[split])
        select, on_device = eval_selection(examples, batch_size), self.split(split)
        for step in range(-(-examples // batch_size)):
            yield self._eval_batch(on_device, self._put(select([step])))

    def split(self, name: str) -> DeviceSplit:
        """A split on the devices, copied there on first use."""
        if name not in self._splits:
            split = self.dataset.splits[name]
            put = self.layout.split_rows if self._sharded else self.layout.replicate
            labels = self.layout.replicate(split.labels)
            self._splits[name] = DeviceSplit(put(split.images), labels)
        return self._splits[name]

    def selections(self, start_step: int) -> Selection:
        """The selections for one dispatch, sharded over the devices."""
        return self._put(self._select(range(start_step, start_step + self.steps_per_dispatch)))

    def abstract_inputs(self) -> tuple[DeviceSplit, Selection]:
        """The shapes, dtypes and shardings of `split("train")` and of `selections`, without data."""
        split, layout = self.dataset.splits["train"], self.layout
        stored = abstract(DeviceSplit(split.images, split.labels), layout.replicated)
        if self._sharded:
            shape = (len(split) + -len(split) % layout.replicas, *split.images.shape[1:])
            images = jax.ShapeDtypeStruct(shape, split.images.dtype, sharding=layout.batch)
            stored = stored.replace(images=images)
        selection = self._select(range(self.steps_per_dispatch))
        return stored, abstract(selection, layout.batches)

    def _put(self, selection: Selection) -> Selection:
        return self.layout.put(selection, self.layout.batches)


@made_once
def _batch_maker(
    spec: DataSpec, augmentations: tuple[Augmentation, ...], layout: Layout, sharded: bool
) -> Callable[..., dict]:
    """(split, selections, number) → the batch of step `number` of the selections, from 0."""
    take = layout.take if sharded else _take

    @jax.jit
    def batch(split, selections, number=0):
        selection = jax.tree.map(lambda array: array[number], selections)
        made = batch_of(split, selection, spec, augmentations, take)
        return jax.lax.with_sharding_constraint(made, layout.batch)

    return batch


def _take(array: jax.Array, index: jax.Array) -> jax.Array:
    return jnp.take(array, index, axis=0)


def batch_of(
    split: DeviceSplit,
    selection: Selection,
    spec: DataSpec,
    augmentations: Sequence[Augmentation] = (),
    take: Callable[[jax.Array, jax.Array], jax.Array] = _take,
) -> dict[str, jax.Array]:
    """The batch of one step, in the format of `host.train_batches`; traceable.

    Args:
      selection: for one step, arrays (batch, …) on the devices.
      spec: gives the normalisation.
      take: (images, index) → the images at these places.
    """
    images = take(split.images, selection.index)
    for step in preparation(jax_arrays, spec, augmentations):
        # Without the barrier XLA fuses the steps into one loop that recomputes a lot.
        images = jax.lax.optimization_barrier(step(images, selection.draws))
    return {
        "image": images,
        "label": _take(split.labels, selection.index),
        "mask": selection.mask,
    }


def check_placement(dataset: Dataset, parts: int) -> None:
    """Rejects data that cannot be stored on the devices.

    Args:
      parts: into how many the images are split, each for a device; 1: each device gets all of them.

    Raises:
      UserError: the images stay on disk, or do not fit in device memory.
    """
    needed, setting = 0, f"config.data.placement={'device' if parts == 1 else 'device_sharded'!r}"
    for split in dataset.splits.values():
        if not isinstance(split.images, np.ndarray):
            raise UserError(
                f"{setting} is for images in memory, and these stay on disk; valid: 'host'"
            )
        needed += split.images.nbytes // parts + split.labels.nbytes
    device = jax.local_devices()[0]
    memory = device.memory_stats() or {}
    copies = jax.local_device_count() if device.platform == "cpu" else 1
    free = memory.get("bytes_limit", psutil.virtual_memory().available)
    free -= memory.get("bytes_in_use", 0)
    if needed * copies > SHARE_OF_MEMORY * free:
        fewer = "'device_sharded' or " if parts == 1 and jax.device_count() > 1 else ""
        raise UserError(
            f"{setting}: the images take {needed * copies / 1e9:.1f} GB, and {device.device_kind} has "
            f"{free / 1e9:.1f} GB free, some of it needed by the network; valid: {fewer}'host'"
        )
