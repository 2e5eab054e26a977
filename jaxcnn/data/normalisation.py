"""Channel statistics for normalising images, and the scale of regression targets."""

from collections.abc import Mapping

import numpy as np

from jaxcnn.data.sources.examining import damage_remarks, measured
from jaxcnn.data.sources.images import EncodedImages
from jaxcnn.data.spec import TargetScale
from jaxcnn.data.split import Split
from jaxcnn.errors import UserError

# Published channel means and standard deviations of pixels in [0, 1]: ImageNet's from torchvision's
# documentation, CIFAR's from its training images.
STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


def given_statistics(
    train: Split, statistics: str, mean: tuple, std: tuple
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the stored pixels, float64 (channels,): published, or as given.

    Args:
      statistics: a name of `STATISTICS`, or 'train' if `mean` and `std` are given.
      mean, std: a number per channel, on the scale of 0 … 1 if the pixels are uint8.

    Raises:
      UserError: only one of `mean` and `std` is given, `statistics` is also given, or they do not fit
        the images.
    """
    if bool(mean) != bool(std):
        raise UserError("config.data.mean and config.data.std are given together or not at all")
    if statistics != "train":
        if mean:
            raise UserError(
                f"config.data.statistics={statistics!r} already sets the mean and std, "
                "but config.data.mean and std are given too; leave out one of them"
            )
        mean, std = STATISTICS[statistics]
    unit = 255 if train.pixel_dtype == "uint8" else 1
    try:
        mean, std = np.array(mean, float) * unit, np.array(std, float) * unit
    except (TypeError, ValueError):
        mean = std = np.empty(0)
    channels = train.image_shape[-1]
    if not (
        mean.shape == std.shape == (channels,)
        and np.isfinite([mean, std]).all()
        and (std > 0).all()
    ):
        raise UserError(
            f"config.data.mean and config.data.std must hold {channels} finite numbers, one per "
            f"channel, with std > 0{f'; {statistics} has 3' if statistics != 'train' else ''}"
        )
    return mean, std


def measured_splits(
    splits: Mapping[str, Split],
) -> tuple[dict[str, Split], np.ndarray, np.ndarray, list[str]]:
    """Measures the training pixels; decodes the images on disk of every split once.

    Returns:
      The splits, with damaged images marked (`Measured.images`); mean and standard deviation of the
      training pixels, float64 (channels,), with std 1 for a constant channel; remarks about damage.

    Raises:
      UserError: an image cannot be read or decoded.
    """
    splits, damage, sums = dict(splits), [], None
    for name, split in splits.items():
        if isinstance(split.images, EncodedImages):
            found = measured(split.images, name)
            splits[name] = Split(found.images, split.labels)
            damage += damage_remarks(found.damaged, len(split), name)
            sums = found.sums if name == "train" else sums
    train = splits["train"]
    if sums is None:
        channels = train.images.reshape(-1, train.image_shape[-1])
        mean = channels.mean(0, dtype=np.float64)
        variance = channels.var(0, dtype=np.float64)
    else:
        height, width, _ = train.image_shape
        mean, square = sums / (len(train) * height * width)
        variance = square - mean**2
    std = np.sqrt(np.maximum(variance, 0))
    return splits, mean, np.where(std > 0, std, 1), damage


def standardised(splits: Mapping[str, Split]) -> tuple[dict[str, Split], TargetScale]:
    """The splits with targets (target − mean)/std, and the mean and std of train."""
    train = splits["train"].labels
    mean, std = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    scale = TargetScale(np.asarray(mean, np.float32), np.where(std > 0, std, 1).astype(np.float32))
    scaled = {
        name: Split(split.images, ((split.labels - scale.mean) / scale.std).astype(np.float32))
        for name, split in splits.items()
    }
    return scaled, scale
