"""What is done to the images of a batch before the network gets them, whatever library does it."""

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
    """What makes stored images (batch, height, width, channels) those that the network gets.

    Returns:
      Functions (images, draws) → images, to be applied one after the other: each augmentation, which
      takes the columns of the draws that are its own and leaves images as they are stored, whole
      numbers or not; and last the normalisation, to float32.
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
        # XLA would turn a division into this, and NumPy must give the same bits.
        return (arrays.float32(images) - spec.mean) * (1 / spec.std)

    return [*map(augmenting, range(len(augmentations))), normalise]


def pixels_of(spec: DataSpec) -> Pixels:
    """What augmentations are told of a data set's pixels."""
    return Pixels(spec.pixel_dtype == "uint8", spec.mean)


def decoding_crop(
    split: Split, augmentations: Sequence[Augmentation]
) -> tuple[Crop | None, Sequence[Augmentation]]:
    """The crop, if any, that says what is decoded of a split's images; the other augmentations."""
    first = augmentations[0] if augmentations else None
    on_disk = isinstance(split.images, EncodedImages) and split.images.decoder.size
    if on_disk and isinstance(first, Crop) and first.probability == 1:
        return first, augmentations[1:]
    return None, augmentations


def boxes(crop: Crop, arrays: Arrays, sizes: Array, draws: Array) -> Array:
    """What a crop decodes of images of `sizes` (batch, 2): int32 (batch, 4), in whole pixels."""
    height, width = (arrays.float32(sizes[:, i]) for i in (0, 1))
    top, left, rows, columns = crop.box(arrays, height, width, draws[:, : crop.draws])
    rows, columns = (arrays.maximum(arrays.round(n), 1.0) for n in (rows, columns))
    top = arrays.minimum(arrays.floor(top), height - rows)
    left = arrays.minimum(arrays.floor(left), width - columns)
    return arrays.int32(arrays.stack([top, left, rows, columns], 1))


def augmentation_stages(
    dataset: Dataset, augmentations: Sequence[Augmentation], count: int, seed: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The first training images of a run, before, between and after their augmentations.

    Returns:
      Their labels, and for none, the first, the first two, … of the augmentations, images (count,
      height, width, channels) of the type that they are stored in.
    """
    split = dataset.splits["train"]
    selection = TrainSelection(len(split), augmentations, count, seed)([0])
    index, draws = selection.index[0], selection.draws[0]
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
    """The first training images of a run, augmented: uint8 (at most `count`, height, width, channels).

    Floats are stretched over 0 … 255.
    """
    count = min(count, dataset.spec.sizes["train"])
    images = augmentation_stages(dataset, augmentations, count, seed)[1][-1]
    if dataset.spec.pixel_dtype != "uint8":
        low, high = images.min(), images.max()
        images = 255 * (images - low) / max(high - low, 1e-12)
    return images.astype(np.uint8)
