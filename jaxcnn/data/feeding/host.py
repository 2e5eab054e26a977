"""Batches that the host makes, through tf.data or NumPy, while the devices compute."""

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
from jaxcnn.data.split import Split
from jaxcnn.layout import Layout
from jaxcnn.tensorflow import tensorflow, tensorflow_installed

# {"image": float32 (batch, height, width, channels), "label": as the split's, (batch,) or (batch, …),
#  "mask": bool (batch,)}
Batch = Mapping[str, np.ndarray]
Maker = Callable[[Selection], Iterator[Batch]]


class HostFeed:
    """A data set in batches on the devices, made on the host, some ahead of who takes them.

    Args:
      augmentations, batch_size, seed: of training; the seed is that of order and augmentation.
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
        """Endless training batches, from the one of `start_step` on; to be closed."""
        maker = self._maker("train", self._augmentations)
        settings = self._augmentations, self._batch_size, self._seed
        rows = self.layout.rows(self._batch_size)
        batches = train_batches(self.dataset, *settings, start_step, rows, maker)
        return prefetch(batches, self.layout.put_batch)

    def eval_batches(self, split: str, batch_size: int) -> Iterator[dict]:
        """A split once, in batches of `batch_size`, which divides by the devices; to be closed."""
        maker, rows = self._maker(split, ()), self.layout.rows(batch_size)
        batches = eval_batches(self.dataset, split, batch_size, rows, maker)
        return prefetch(batches, self.layout.put_batch)

    def abstract_batch(self) -> dict[str, jax.ShapeDtypeStruct]:
        """A training batch's shapes, dtypes and sharding, without its numbers."""
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
        """What makes a split's batches; it is kept, with what it compiled."""
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
    """Endless batches of augmented, normalised training images, from the one of `start_step` on.

    Args:
      rows: which rows of each batch are made.
      maker: `batch_maker(dataset, "train", augmentations)`, for those who ask more than once.
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
    """A split once, in its own order, normalised; the last batch is filled up and masked.

    Args:
      rows: which rows of each batch are made.
      maker: `batch_maker(dataset, split)`, for those who ask more than once.
    """
    examples = len(dataset.splits[split])
    steps = iter(range(-(-examples // batch_size)))
    maker = maker or batch_maker(dataset, split)
    return _batches(maker, batch_size, eval_selection(examples, batch_size), steps, rows)


def batch_maker(dataset: Dataset, split: str, augmentations: Sequence[Augmentation] = ()) -> Maker:
    """What makes the selected batches of a split, and compiles what it needs for that once."""
    maker = _tf_maker if tensorflow_installed() else _numpy_maker
    return maker(dataset, dataset.splits[split], augmentations)


def _batches(
    maker: Maker,
    batch_size: int,
    select: Select,
    steps: Iterator[int],
    rows: np.ndarray | slice,
) -> Iterator[Batch]:
    # Selected a quarter of a million examples at a time, and handed to tf.data as arrays: a Python
    # function inside it would contend with the training loop for the interpreter.
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
    # Its thread sleeps ever longer, up to a minute, and the end of a run would wait for it to wake.
    options.autotune.enabled = False
    # Compiled one by one: of several together XLA makes one loop that computes much twice.
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
    """How whole batches are mapped: as many are made ahead as there are calls, and one may take half
    a GB."""
    return {"num_parallel_calls": min(4, os.cpu_count() or 1), "deterministic": True}


def _gathered(images: np.ndarray) -> Callable:
    """Adds the images, which are in memory, to selected batches."""
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
    """Adds the images, which are on disk, to selected batches: reads and decodes each."""
    tf, arrays = tensorflow("the input pipeline"), tensorflow_arrays()
    orientations, sizes = (tf.constant(images.places[key]) for key in ("orientation", "size"))
    unusual = tf.constant(np.zeros(len(images), bool) if images.unusual is None else images.unusual)
    image_by_image = {"num_parallel_calls": os.cpu_count(), "deterministic": True}

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
    """Raises the error of the first image, of the next batches, that cannot be read or decoded."""
    if isinstance(split.images, EncodedImages):
        for position in index[:16].ravel():
            split.images.decoded(position)
