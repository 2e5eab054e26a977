"""scikit-learn's handwritten digits, upright and rotated."""

from importlib import metadata
from typing import Annotated

import numpy as np

from jaxcnn.data.sources.cache import cached
from jaxcnn.data.sources.memory import COPIES, check_memory
from jaxcnn.data.split import Source, Split
from jaxcnn.limits import AT_LEAST_1, Limit

UP_TO_180 = Limit(lambda value: 0 < value <= 180, "more than 0 and at most 180")


def digits(resize: int) -> Source:
    """scikit-learn's 1,797 embedded handwritten digits, 8×8×1; a fixed, stratified fifth is test.

    Alpaydin & Kaynak 1998, Optical recognition of handwritten digits.
    """
    del resize
    # Cached, because importing scikit-learn takes a second, a fifth of a run's start-up time.
    arrays = cached("digits", metadata.version("scikit-learn"), _digits_of_scikit_learn)
    splits = {
        name: Split(arrays[f"{name}_images"], arrays[f"{name}_labels"])
        for name in ("train", "test")
    }
    return Source(splits, tuple(map(str, range(10))))


def _digits_of_scikit_learn() -> dict[str, np.ndarray]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = np.round(data.images[..., None] * (255 / 16)).astype(np.uint8)  # stored as 0…16
    labels = data.target.astype(np.int32)
    parts = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    names = "train_images", "test_images", "train_labels", "test_labels"
    return dict(zip(names, parts, strict=True))


def rotated_digits(
    resize: int,
    copies: Annotated[int, AT_LEAST_1] = 10,
    largest_angle: Annotated[float, UP_TO_180] = 45.0,
) -> Source:
    """The digits of `digits`, rotated; the target is the angle in degrees, anticlockwise.

    All rotations of a digit are in the same split.

    Args:
      resize: pixels per side; 0: 24.
      copies: the number of rotations of each digit, each by another angle.
      largest_angle: angles are uniform in ± this, in degrees.
    """
    from scipy.ndimage import affine_transform

    size = resize or 24
    upright = digits(0).splits
    count = copies * sum(map(len, upright.values()))
    check_memory(f"config.data.resize={size} with copies={copies}", COPIES * count * size**2)
    rng = np.random.default_rng(0)
    spacing = 12 / size  # in pixels of the 8×8 original; 12 leaves a margin for its corners

    def rotated(image: np.ndarray, angle: float) -> np.ndarray:
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        matrix = spacing * np.array([[cos, sin], [-sin, cos]])
        offset = 3.5 - matrix @ np.full(2, (size - 1) / 2)
        pixels = affine_transform(image.astype(float), matrix, offset, (size, size), order=3)
        return np.clip(np.round(pixels), 0, 255).astype(np.uint8)

    def all_rotated(split: Split) -> Split:
        angles = rng.uniform(-largest_angle, largest_angle, (copies, len(split)))
        images = [
            rotated(image, angle)
            for of_copy in angles
            for image, angle in zip(split.images[..., 0], of_copy, strict=True)
        ]
        return Split(np.stack(images)[..., None], angles.ravel().astype(np.float32))

    order = rng.permutation(len(upright["train"]))
    tenth = len(order) // 10
    splits = {
        "train": upright["train"][order[tenth:]],
        "validation": upright["train"][order[:tenth]],
        "test": upright["test"],
    }
    return Source({name: all_rotated(split) for name, split in splits.items()}, ())
