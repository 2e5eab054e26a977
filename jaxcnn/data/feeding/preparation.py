"""Preparing a batch's images for the network, in any of the array libraries."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from jaxcnn.data.augment.arrays import Array, Arrays, numpy_arrays
from jaxcnn.data.augment.base import Augmentation, Pixels
from jaxcnn.data.augment.geometry import Crop
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.selection import TrainSelection
from jaxcnn.data.sources.images import EncodedImages
from jaxcnn.data.spec import DataSpec
from jaxcnn.data.split import Split


def preparation(
    arrays: Arrays, spec: DataSpec, augmentations: Sequence[Augmentation]
) -> list[Callable[[Array, Array], Array]]:
    """The steps from stored images (batch, height, width, channels) to network inputs.

    Returns:
      Functions (images, draws) → images, to apply in order: first each augmentation, which uses its
      columns of the draws and preserves uint8 or float pixels as stored; last the normalisation, to
      float32.
    """
    pixels = pixels_of(spec)
    ends = list(itertools.accumulate((a.draws for a in augmentations), initial=0))

    def augmenting(number: int):
        columns, augmentation = slice(*ends[number : number + 2]), augmentations[number]

        def augment(images, draws):
            images = augmentation(arrays, arrays.float32(images), draws[:, columns], pixels)
            return arrays.uint8(images) if pixels.whole else images

        return augment

    def normalise(images, draws):
        del draws
        # XLA turns a division into this multiplication; NumPy must give the same bits.
        return (arrays.float32(images) - spec.mean) * (1 / spec.std)

    return [*map(augmenting, range(len(augmentations))), normalise]


def pixels_of(spec: DataSpec) -> Pixels:
    """The pixel description that augmentations get."""
    return Pixels(spec.pixel_dtype == "uint8", spec.mean)


def decoding_crop(
    split: Split, augmentations: Sequence[Augmentation]
) -> tuple[Crop | None, Sequence[Augmentation]]:
    """The crop to apply while decoding a split's images, if any; the other augmentations."""
    first = augmentations[0] if augmentations else None
    on_disk = isinstance(split.images, EncodedImages) and split.images.decoder.size
    if on_disk and isinstance(first, Crop) and first.probability == 1:
        return first, augmentations[1:]
    return None, augmentations


def boxes(crop: Crop, arrays: Arrays, sizes: Array, draws: Array) -> Array:
    """A crop's boxes in images of `sizes` (batch, 2): int32 (batch, 4), in whole pixels."""
    height, width = (arrays.float32(sizes[:, i]) for i in (0, 1))
    top, left, rows, columns = crop.box(arrays, height, width, draws[:, : crop.draws])
    rows, columns = (arrays.maximum(arrays.round(n), 1.0) for n in (rows, columns))
    top = arrays.minimum(arrays.floor(top), height - rows)
    left = arrays.minimum(arrays.floor(left), width - columns)
    return arrays.int32(arrays.stack([top, left, rows, columns], 1))


def augmentation_stages(
    dataset: Dataset, augmentations: Sequence[Augmentation], count: int, seed: int, epoch: int = 0
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A run's first training images before, between and after the augmentations.

    Args:
      count: at most the number of training images.
      epoch: whose random draws are taken; the images are always those of the run's start.

    Returns:
      Their labels, and the images after 0, 1, 2, … augmentations, each (count, height, width,
      channels) in the stored dtype.
    """
    split = dataset.splits["train"]
    selection = TrainSelection(len(split), augmentations, count, seed)
    index = selection([0]).index[0]
    draws = selection.draws_of(epoch)[index]
    crop, others = decoding_crop(split, augmentations)
    if isinstance(split.images, EncodedImages):
        stages = [np.stack([split.images.decoded(i) for i in index])]
        if crop:
            drawn = boxes(crop, numpy_arrays, split.images.places["size"][index], draws)
            stages.append(np.stack(list(map(split.images.decoded, index, drawn))))
    else:
        stages = [split.images[index]]
    rest = draws[:, crop.draws :] if crop else draws
    for step in preparation(numpy_arrays, dataset.spec, others)[:-1]:
        stages.append(step(stages[-1], rest))
    return split.labels[index], stages


def first_images(
    dataset: Dataset, augmentations: Sequence[Augmentation], seed: int, count: int = 32
) -> np.ndarray:
    """A run's first training images, augmented: uint8 (at most `count`, height, width, channels).

    Floats are scaled to span 0 … 255.
    """
    count = min(count, dataset.spec.sizes["train"])
    images = augmentation_stages(dataset, augmentations, count, seed)[1][-1]
    if dataset.spec.pixel_dtype != "uint8":
        low, high = images.min(), images.max()
        images = 255 * (images - low) / max(high - low, 1e-12)
    return images.astype(np.uint8)
