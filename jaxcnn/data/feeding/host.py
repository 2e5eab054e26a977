"""Batches, in an order and with an augmentation that depend on seed and epoch alone.

What goes into the batch of step s is a function of s: which examples, and the random numbers of
their augmentation. So a run resumes from its step, and no state of the input is ever saved.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from jaxcnn.data.augment.arrays import Array, Arrays, numpy_arrays, tensorflow_arrays
from jaxcnn.data.augment.base import Augmentation, Pixels
from jaxcnn.data.augment.geometry import Crop
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.selection import (
    ALONE,
    Host,
    Select,
    Selection,
    eval_selection,
    train_selection,
)
from jaxcnn.data.sources.decoding import reason
from jaxcnn.data.sources.images import EncodedImages
from jaxcnn.data.split import Split
from jaxcnn.tensorflow import tensorflow, tensorflow_installed

# {"image": float32 (batch, height, width, channels), "label": as the split's, (batch,) or (batch, …),
#  "mask": bool (batch,)}
Batch = Mapping[str, np.ndarray]
Maker = Callable[[Selection], Iterator[Batch]]


def train_batches(
    dataset: Dataset,
    augmentations: Sequence[Augmentation],
    batch_size: int,
    seed: int,
    start_step: int = 0,
    host: Host = ALONE,
    maker: Maker | None = None,
) -> Iterator[Batch]:
    """Endless batches of augmented, normalised training images, from the one of `start_step` on.

    Args:
      batch_size: of all hosts together; an equal part of it is this host's.
      maker: `batch_maker(dataset, "train", augmentations)`, of who asks more than once.
    """
    select = train_selection(len(dataset.splits["train"]), augmentations, batch_size, seed)
    maker = maker or batch_maker(dataset, "train", augmentations)
    return _batches(maker, batch_size, select, itertools.count(start_step), host)


def eval_batches(
    dataset: Dataset,
    split: str,
    batch_size: int,
    host: Host = ALONE,
    maker: Maker | None = None,
) -> Iterator[Batch]:
    """A split once, in its own order, normalised; the last batch is filled up and masked.

    Args:
      maker: `batch_maker(dataset, split)`, of who asks more than once.
    """
    examples = len(dataset.splits[split])
    steps = iter(range(-(-examples // batch_size)))
    maker = maker or batch_maker(dataset, split)
    return _batches(maker, batch_size, eval_selection(examples, batch_size), steps, host)


def batch_maker(dataset: Dataset, split: str, augmentations: Sequence[Augmentation] = ()) -> Maker:
    """What makes the selected batches of a split, and compiles what it needs for that once."""
    maker = _tf_maker if tensorflow_installed() else _numpy_maker
    return maker(dataset, dataset.splits[split], augmentations)


def augmentation_stages(
    dataset: Dataset, augmentations: Sequence[Augmentation], count: int, seed: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The first training images of a run, before, between and after their augmentations.

    Returns:
      Their labels, and for none, the first, the first two, … of the augmentations, images (count,
      height, width, channels) of the type that they are stored in.
    """
    split = dataset.splits["train"]
    selection = train_selection(len(split), augmentations, count, seed)([0])
    index, draws = selection.index[0], selection.draws[0]
    crop, others = decoding_crop(split, augmentations)
    if isinstance(split.images, EncodedImages):
        stages = [np.stack([split.images.decoded(i) for i in index])]
        if crop:
            boxes = _boxes(crop, numpy_arrays, split.images.places["size"][index], draws)
            stages.append(np.stack(list(map(split.images.decoded, index, boxes))))
    else:
        stages = [split.images[index]]
    own = draws[:, crop.draws :] if crop else draws
    for step in preparation(numpy_arrays, dataset, others)[:-1]:
        stages.append(step(stages[-1], own))
    return split.labels[index], stages


def decoding_crop(
    split: Split, augmentations: Sequence[Augmentation]
) -> tuple[Crop | None, Sequence[Augmentation]]:
    """The crop, if any, that says what is decoded of a split's images; the other augmentations."""
    first = augmentations[0] if augmentations else None
    on_disk = isinstance(split.images, EncodedImages) and split.images.decoder.size
    if on_disk and isinstance(first, Crop) and first.probability == 1:
        return first, augmentations[1:]
    return None, augmentations


def _boxes(crop: Crop, arrays: Arrays, sizes: Array, draws: Array) -> Array:
    """What a crop decodes of images of `sizes` (batch, 2): int32 (batch, 4), in whole pixels."""
    height, width = (arrays.float32(sizes[:, i]) for i in (0, 1))
    top, left, rows, columns = crop.box(arrays, height, width, draws[:, : crop.draws])
    rows, columns = (arrays.maximum(arrays.round(n), 1.0) for n in (rows, columns))
    top = arrays.minimum(arrays.floor(top), height - rows)
    left = arrays.minimum(arrays.floor(left), width - columns)
    return arrays.int32(arrays.stack([top, left, rows, columns], 1))


def abstract_batch(dataset: Dataset, batch_size: int, sharding) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch's shapes, dtypes and sharding, without its numbers."""
    labels = dataset.splits["train"].labels
    parts = {
        "image": ((batch_size, *dataset.image_shape), np.float32),
        "label": ((batch_size, *labels.shape[1:]), labels.dtype),
        "mask": ((batch_size,), bool),
    }
    return {
        key: jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
        for key, (shape, dtype) in parts.items()
    }


def _batches(
    maker: Maker, batch_size: int, select: Select, steps: Iterator[int], host: Host
) -> Iterator[Batch]:
    # Selected a quarter of a million examples at a time, and handed to tf.data as arrays: a Python
    # function inside it would contend with the training loop for the interpreter.
    chunk_size = max(1, 2**18 // batch_size)
    while chunk := list(itertools.islice(steps, chunk_size)):
        yield from maker(host.part(select(chunk)))


def _numpy_maker(dataset: Dataset, split: Split, augmentations: Sequence[Augmentation]) -> Maker:
    steps = preparation(numpy_arrays, dataset, augmentations)

    def batches_of(selection):
        for index, draws, mask in zip(*selection, strict=True):
            images = split.images[index]
            for step in steps:
                images = step(images, draws)
            yield {"image": images, "label": split.labels[index], "mask": mask}

    return batches_of


def _tf_maker(dataset: Dataset, split: Split, augmentations: Sequence[Augmentation]) -> Maker:
    tf = tensorflow("the input pipeline")
    labels, arrays, failure = tf.constant(split.labels), tensorflow_arrays(), tf.errors.OpError
    crop, others = decoding_crop(split, augmentations)
    image_by_image = {"num_parallel_calls": os.cpu_count(), "deterministic": True}
    # Of whole batches as many are made ahead as there are calls, and a batch may take half a GB.
    batchwise = {"num_parallel_calls": min(4, os.cpu_count() or 1), "deterministic": True}
    options = tf.data.Options()
    # Its thread sleeps ever longer, up to a minute, and the end of a run would wait for it to wake.
    options.autotune.enabled = False

    # Compiled one by one: of several together XLA makes one loop that computes much twice.
    steps = [
        tf.function(step, jit_compile=True, autograph=False)
        for step in preparation(arrays, dataset, others)
    ]

    def finished(images, index, draws, mask):
        draws = draws[:, crop.draws :] if crop else draws
        for step in steps:
            images = step(images, draws)
        return {"image": images, "label": tf.gather(labels, index), "mask": mask}

    if isinstance(split.images, EncodedImages):
        images = split.images
        orientations, sizes = (tf.constant(images.places[key]) for key in ("orientation", "size"))

        def read(index, draws, mask):
            encoded = tf.numpy_function(images.read, [index], tf.string, stateful=False)
            encoded = tf.ensure_shape(encoded, index.shape)
            boxes = _boxes(crop, arrays, tf.gather(sizes, index), draws) if crop else index
            return encoded, tf.gather(orientations, index), boxes, index, draws, mask

        def decoded(encoded, orientation, box, index, draws, mask):
            image = images.decoder(encoded, orientation, box if crop else None)
            return tf.ensure_shape(image, images.shape), index, draws, mask

        def with_images(selected, batch_size):
            selected = selected.map(read, **batchwise).unbatch().map(decoded, **image_by_image)
            return selected.batch(batch_size, drop_remainder=True)
    else:
        stored = tf.constant(split.images)

        def with_images(selected, batch_size):
            return selected.map(
                lambda index, draws, mask: (tf.gather(stored, index), index, draws, mask),
                **batchwise,
            )

    def batches_of(selection):
        selected = tf.data.Dataset.from_tensor_slices(tuple(selection))
        batches = with_images(selected, selection.index.shape[1]).map(finished, **batchwise)
        made = 0
        try:
            for batch in batches.prefetch(2).with_options(options).as_numpy_iterator():
                yield batch
                made += 1
        except failure as error:
            _name_what_fails(split, selection.index[made:])
            raise RuntimeError(f"the input pipeline failed: {reason(error)}") from error

    return batches_of


def _name_what_fails(split: Split, index: np.ndarray) -> None:
    """Raises the error of the first image, of the next batches, that cannot be read or decoded."""
    if isinstance(split.images, EncodedImages):
        for position in index[:16].ravel():
            split.images.decoded(position)


def preparation(
    arrays: Arrays, dataset: Dataset, augmentations: Sequence[Augmentation]
) -> list[Callable[[Array, Array], Array]]:
    """What makes stored images (batch, height, width, channels) those that the network gets.

    Returns:
      Functions (images, draws) → images, to be applied one after the other: each augmentation, which
      takes the columns of the draws that are its own and leaves images as they are stored, whole
      numbers or not; and last the normalisation, to float32.
    """
    pixels = pixels_of(dataset)
    ends = list(itertools.accumulate((a.draws for a in augmentations), initial=0))

    def augmenting(number: int):
        own, augmentation = slice(*ends[number : number + 2]), augmentations[number]

        def augment(images, draws):
            images = augmentation(arrays, arrays.float32(images), draws[:, own], pixels)
            return arrays.uint8(images) if pixels.whole else images

        return augment

    def normalise(images, draws):
        del draws
        # XLA would turn a division into this, and NumPy shall give the same bits.
        return (arrays.float32(images) - dataset.mean) * (1 / dataset.std)

    return [*map(augmenting, range(len(augmentations))), normalise]


def pixels_of(dataset: Dataset) -> Pixels:
    """What augmentations are told of a data set's pixels."""
    return Pixels(dataset.pixel_dtype == "uint8", dataset.mean)
