"""Batches made on the host with tf.data or NumPy, while the devices compute."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from jaxcnn.data.augment.arrays import numpy_arrays, tensorflow_arrays
from jaxcnn.data.augment.base import Augmentation
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.prefetch import prefetch
from jaxcnn.data.feeding.preparation import boxes, decoding_crop, preparation
from jaxcnn.data.feeding.selection import Select, Selection, TrainSelection, eval_selection
from jaxcnn.data.sources.decoding import reason
from jaxcnn.data.sources.images import EncodedImages
from jaxcnn.data.sources.pixels import PIXELS_AT_ONCE
from jaxcnn.data.split import Split
from jaxcnn.layout import Layout
from jaxcnn.tensorflow import tensorflow, tensorflow_installed

# {"image": float32 (batch, height, width, channels), "label": as the split's, (batch,) or (batch, …),
#  "mask": bool (batch,)}
Batch = Mapping[str, np.ndarray]
Maker = Callable[[Selection], Iterator[Batch]]


class HostFeed:
    """Batches of a data set, made on the host and prefetched to the devices.

    Args:
      augmentations, batch_size, seed: for training; the seed sets the order and the augmentation.
    """

    def __init__(
        self,
        dataset: Dataset,
        layout: Layout,
        augmentations: Sequence[Augmentation] = (),
        batch_size: int = 1,
        seed: int = 0,
    ):
        self.dataset, self.layout = dataset, layout
        self._augmentations, self._batch_size, self._seed = augmentations, batch_size, seed
        self._makers: dict[tuple[str, bool], Maker] = {}

    def train_batches(self, start_step: int) -> Iterator[dict]:
        """Endless training batches, starting at `start_step`; close the iterator after use."""
        maker = self._maker("train", self._augmentations)
        settings = self._augmentations, self._batch_size, self._seed
        rows = self.layout.rows(self._batch_size)
        batches = train_batches(self.dataset, *settings, start_step, rows, maker)
        return prefetch(batches, self.layout.put_batch)

    def eval_batches(self, split: str, batch_size: int) -> Iterator[dict]:
        """One pass over a split in batches of `batch_size`, a multiple of the device count.

        Close the iterator after use.
        """
        maker, rows = self._maker(split, ()), self.layout.rows(batch_size)
        batches = eval_batches(self.dataset, split, batch_size, rows, maker)
        return prefetch(batches, self.layout.put_batch)

    def abstract_batch(self) -> dict[str, jax.ShapeDtypeStruct]:
        """A training batch's shapes, dtypes and sharding, without data."""
        labels = self.dataset.splits["train"].labels
        parts = {
            "image": ((self._batch_size, *self.dataset.spec.image_shape), np.float32),
            "label": ((self._batch_size, *labels.shape[1:]), labels.dtype),
            "mask": ((self._batch_size,), bool),
        }
        return {
            key: jax.ShapeDtypeStruct(shape, dtype, sharding=self.layout.batch)
            for key, (shape, dtype) in parts.items()
        }

    def _maker(self, split: str, augmentations: Sequence[Augmentation]) -> Maker:
        """A split's batch maker, cached along with its compiled functions."""
        key = split, bool(augmentations)
        if key not in self._makers:
            self._makers[key] = batch_maker(self.dataset, split, augmentations)
        return self._makers[key]


def train_batches(
    dataset: Dataset,
    augmentations: Sequence[Augmentation],
    batch_size: int,
    seed: int,
    start_step: int = 0,
    rows: np.ndarray | slice = slice(None),
    maker: Maker | None = None,
) -> Iterator[Batch]:
    """Endless batches of augmented, normalised training images, starting at `start_step`.

    Args:
      rows: which rows of each batch to make.
      maker: `batch_maker(dataset, "train", augmentations)`, to reuse across calls.
    """
    examples = len(dataset.splits["train"])
    select = TrainSelection(examples, augmentations, batch_size, seed)
    maker = maker or batch_maker(dataset, "train", augmentations)
    return _batches(maker, batch_size, select, itertools.count(start_step), rows)


def eval_batches(
    dataset: Dataset,
    split: str,
    batch_size: int,
    rows: np.ndarray | slice = slice(None),
    maker: Maker | None = None,
) -> Iterator[Batch]:
    """One pass over a split, in order, normalised; the last batch is padded and masked.

    Args:
      rows: which rows of each batch to make.
      maker: `batch_maker(dataset, split)`, to reuse across calls.
    """
    examples = len(dataset.splits[split])
    steps = iter(range(-(-examples // batch_size)))
    maker = maker or batch_maker(dataset, split)
    return _batches(maker, batch_size, eval_selection(examples, batch_size), steps, rows)


def batch_maker(dataset: Dataset, split: str, augmentations: Sequence[Augmentation] = ()) -> Maker:
    """A function from selections to batches of a split; it compiles its steps once."""
    maker = _tf_maker if tensorflow_installed() else _numpy_maker
    return maker(dataset, dataset.splits[split], augmentations)


def _batches(
    maker: Maker,
    batch_size: int,
    select: Select,
    steps: Iterator[int],
    rows: np.ndarray | slice,
) -> Iterator[Batch]:
    # Select 2**18 examples at a time and pass them to tf.data as arrays: a Python function inside
    # tf.data would compete with the training loop for the GIL.
    chunk_size = max(1, 2**18 // batch_size)
    while chunk := list(itertools.islice(steps, chunk_size)):
        yield from maker(select(chunk).rows(rows))


def _numpy_maker(dataset: Dataset, split: Split, augmentations: Sequence[Augmentation]) -> Maker:
    steps = preparation(numpy_arrays, dataset.spec, augmentations)

    def batches_of(selection):
        for index, draws, mask in zip(*selection, strict=True):
            images = split.images[index]
            for step in steps:
                images = step(images, draws)
            yield {"image": images, "label": split.labels[index], "mask": mask}

    return batches_of


def _tf_maker(dataset: Dataset, split: Split, augmentations: Sequence[Augmentation]) -> Maker:
    tf = tensorflow("the input pipeline")
    labels, failure = tf.constant(split.labels), tf.errors.OpError
    crop, others = decoding_crop(split, augmentations)
    options = tf.data.Options()
    # Autotune's thread sleeps for up to a minute, and the end of a run would wait for it to wake.
    options.autotune.enabled = False
    # Compiled one by one: XLA fuses several into one loop that recomputes a lot.
    steps = [
        tf.function(step, jit_compile=True, autograph=False)
        for step in preparation(tensorflow_arrays(), dataset.spec, others)
    ]

    def finished(images, index, draws, mask):
        draws = draws[:, crop.draws :] if crop else draws
        for step in steps:
            images = step(images, draws)
        return {"image": images, "label": tf.gather(labels, index), "mask": mask}

    on_disk = isinstance(split.images, EncodedImages)
    with_images = _decoded(split.images, crop) if on_disk else _gathered(split.images)

    def batches_of(selection):
        selected = tf.data.Dataset.from_tensor_slices(tuple(selection))
        batches = with_images(selected, selection.index.shape[1]).map(finished, **_batchwise())
        made = 0
        try:
            for batch in batches.prefetch(2).with_options(options).as_numpy_iterator():
                yield batch
                made += 1
        except failure as error:
            _name_what_fails(split, selection.index[made:])
            raise RuntimeError(f"the input pipeline failed: {reason(error)}") from error

    return batches_of


def _batchwise() -> dict:
    """Arguments to map whole batches; few parallel calls, since each holds a batch of up to 0.5 GB."""
    return {"num_parallel_calls": min(4, os.cpu_count() or 1), "deterministic": True}


def _gathered(images: np.ndarray) -> Callable:
    """Adds in-memory images to selected batches."""
    tf = tensorflow("the input pipeline")
    stored = tf.constant(images)

    def with_images(selected, batch_size):
        del batch_size
        return selected.map(
            lambda index, draws, mask: (tf.gather(stored, index), index, draws, mask),
            **_batchwise(),
        )

    return with_images


def _decoded(images: EncodedImages, crop) -> Callable:
    """Adds images on disk to selected batches: reads and decodes each one."""
    tf, arrays = tensorflow("the input pipeline"), tensorflow_arrays()
    orientations, sizes = (tf.constant(images.places[key]) for key in ("orientation", "size"))
    unusual = tf.constant(images.is_unusual())
    largest = int(images.places["size"].astype(np.int64).prod(axis=1).max(initial=1))
    together = max(1, PIXELS_AT_ONCE // max(largest, images.decoder.size**2))
    parallel = min(os.cpu_count() or 1, together)
    image_by_image = {"num_parallel_calls": parallel, "deterministic": True}

    def read(index, draws, mask):
        encoded = tf.numpy_function(images.read, [index], tf.string, stateful=False)
        encoded = tf.ensure_shape(encoded, index.shape)
        decoded_boxes = boxes(crop, arrays, tf.gather(sizes, index), draws) if crop else index
        kind = tf.gather(orientations, index), tf.gather(unusual, index)
        return encoded, *kind, decoded_boxes, index, draws, mask

    def decoded(encoded, orientation, is_unusual, box, index, draws, mask):
        image = images.decoder(encoded, orientation, box if crop else None, is_unusual)
        return tf.ensure_shape(image, images.shape), index, draws, mask

    def with_images(selected, batch_size):
        selected = selected.map(read, **_batchwise()).unbatch().map(decoded, **image_by_image)
        return selected.batch(batch_size, drop_remainder=True)

    return with_images


def _name_what_fails(split: Split, index: np.ndarray) -> None:
    """Raises the error of the first unreadable image in the next batches."""
    if isinstance(split.images, EncodedImages):
        for position in index[:16].ravel():
            split.images.decoded(position)
