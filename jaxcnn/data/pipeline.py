"""Batches, in an order and with an augmentation that depend on seed and epoch alone.

What goes into the batch of step s is a function of s: which examples, and the random numbers of
their augmentation. So a run resumes from its step, and no state of the input is ever saved.
"""

import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.images import ImageFiles
from jaxcnn.data.sources import Split
from jaxcnn.data.tensorflow import tensorflow, tensorflow_installed

# {"image": float32 (batch, height, width, channels), "label": int32 (batch,), "mask": bool (batch,)}
Batch = Mapping[str, np.ndarray]


class Selection(NamedTuple):
    """The examples of one batch; where `mask` is False, a filler that does not count.

    There is at least one draw per example, used or not: TensorFlow 2.21 crashes when it re-batches
    tensors without elements.
    """

    index: np.ndarray  # int64 (batch,), into the split
    draws: np.ndarray  # float32 (batch, draws per example), uniform in [0, 1)
    mask: np.ndarray  # bool (batch,)


def train_batches(
    dataset: Dataset, augmentations: Sequence, batch_size: int, seed: int, start_step: int = 0
) -> Iterator[Batch]:
    """Endless batches of augmented, normalised training images, from the one of `start_step` on.

    Every epoch is a new permutation of all examples; batches run on over its end.
    """
    split = dataset.splits["train"]
    draws = max(1, sum(augmentation.draws for augmentation in augmentations))

    def select(step: int) -> Selection:
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        epochs, within = np.divmod(positions, len(split))
        index = np.empty(batch_size, np.int64)
        uniform = np.empty((batch_size, draws), np.float32)
        for epoch in np.unique(epochs):
            order, numbers = _epoch(seed, int(epoch), len(split), draws)
            here = epochs == epoch
            index[here] = order[within[here]]
            uniform[here] = numbers[index[here]]
        return Selection(index, uniform, np.ones(batch_size, bool))

    return _batches(dataset, split, augmentations, select, itertools.count(start_step))


def eval_batches(dataset: Dataset, split_name: str, batch_size: int) -> Iterator[Batch]:
    """A split once, in its own order, normalised; the last batch is filled up and masked."""
    split = dataset.splits[split_name]

    def select(step: int) -> Selection:
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        mask = positions < len(split)
        return Selection(np.where(mask, positions, 0), np.zeros((batch_size, 1), np.float32), mask)

    return _batches(dataset, split, (), select, range(-(-len(split) // batch_size)))


@functools.lru_cache(maxsize=4)  # two epochs meet in one batch
def _epoch(seed: int, epoch: int, examples: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """The order of an epoch, and each example's uniform numbers in it."""
    order = np.random.default_rng((seed, epoch, 0)).permutation(examples)
    numbers = np.random.default_rng((seed, epoch, 1)).random((examples, draws), np.float32)
    return order, numbers


def _batches(dataset, split, augmentations, select, steps) -> Iterator[Batch]:
    if tensorflow_installed():
        return _tf_batches(dataset, split, augmentations, select, steps)
    return _numpy_batches(dataset, split, augmentations, select, steps)


def _numpy_batches(dataset, split: Split, augmentations, select, steps) -> Iterator[Batch]:
    for step in steps:
        index, draws, mask = select(step)
        images = split.images[index]
        for augmentation, own_draws in _shared_out(augmentations, draws):
            images = augmentation.numpy(images, own_draws)
        images = (images.astype(np.float32) - dataset.mean) / dataset.std
        yield {"image": images, "label": split.labels[index], "mask": mask}


def _tf_batches(dataset, split: Split, augmentations, select, steps) -> Iterator[Batch]:
    # The selections go in as arrays, some half a million examples at a time: a Python function
    # inside tf.data would contend with the training loop for the interpreter.
    steps, batch_size = iter(steps), len(select(0).index)
    while chunk := list(itertools.islice(steps, max(1, 2**19 // batch_size))):
        selections = Selection(*map(np.stack, zip(*map(select, chunk), strict=True)))
        yield from _tf_dataset(dataset, split, augmentations, selections).as_numpy_iterator()


def _tf_dataset(dataset, split: Split, augmentations, selections: Selection):
    """A tf.data.Dataset of the batches that `selections`, stacked, select."""
    tf = tensorflow("the input pipeline")
    batch_size = selections.index.shape[1]
    labels = tf.constant(split.labels)

    def augmented(images, index, draws, mask):
        for augmentation, own_draws in _shared_out(augmentations, draws):
            images = augmentation.tensorflow(images, own_draws)
        images = (tf.cast(images, tf.float32) - dataset.mean) / dataset.std
        return {"image": images, "label": tf.gather(labels, index), "mask": mask}

    parallel = {"num_parallel_calls": os.cpu_count(), "deterministic": True}
    batches = tf.data.Dataset.from_tensor_slices(tuple(selections))
    if isinstance(split.images, ImageFiles):
        paths, decode = tf.constant(split.images.paths), split.images.decoder

        def decoded(index, draws, mask):
            image = tf.ensure_shape(decode(tf.gather(paths, index)), split.images.shape)
            return image, index, draws, mask

        batches = batches.unbatch().map(decoded, **parallel)
        batches = batches.batch(batch_size, drop_remainder=True)
    else:
        stored = tf.constant(split.images)
        batches = batches.map(
            lambda index, draws, mask: (tf.gather(stored, index), index, draws, mask), **parallel
        )
    options = tf.data.Options()
    # Its thread sleeps ever longer, up to a minute, and the end of a run would wait for it to wake.
    options.autotune.enabled = False
    return batches.map(augmented, **parallel).prefetch(2).with_options(options)


def _shared_out(augmentations: Sequence, draws):
    """Each augmentation with the columns of `draws` that are its own."""
    first = 0
    for augmentation in augmentations:
        yield augmentation, draws[:, first : first + augmentation.draws]
        first += augmentation.draws
