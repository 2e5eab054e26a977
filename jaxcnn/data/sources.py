"""Where images come from, by name. Each source returns its splits and its class names."""

import gzip
import zlib
from importlib import metadata
from pathlib import Path

import numpy as np

from jaxcnn.data.folder import folder
from jaxcnn.data.kept import kept
from jaxcnn.data.split import (
    Source,
    Split,
    class_names_or_numbers,
    existing_directory,
    split_from_arrays,
)
from jaxcnn.data.tfds import tfds
from jaxcnn.errors import UserError
from jaxcnn.registry import Registry


def digits(resize: int) -> Source:
    """scikit-learn's embedded 1,797 handwritten digits, 8×8×1; a fixed, stratified fifth is test.

    Alpaydin & Kaynak 1998, Optical recognition of handwritten digits.
    """
    del resize
    # Kept, since importing scikit-learn takes a second, a fifth of what a run takes to start.
    arrays = kept(None, "digits", metadata.version("scikit-learn"), _digits_of_scikit_learn)
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


def rotated_digits(resize: int, copies: int = 10, largest_angle: float = 45.0) -> Source:
    """The digits of `digits`, turned; the target is the angle in degrees, anticlockwise.

    Args:
      resize: pixels per side; 0: 24.
      copies: how often each digit is there, each time turned by another angle.
      largest_angle: angles are uniform in ± this.

    A digit is in one split alone, whatever its angle.
    """
    from scipy.ndimage import affine_transform

    size = resize or 24
    if copies < 1:
        raise UserError(f"config.data.copies={copies} must be at least 1")
    if not 0 < largest_angle <= 180:
        raise UserError(f"config.data.largest_angle={largest_angle} must be in (0, 180]")
    rng = np.random.default_rng(0)
    spacing = 12 / size  # in pixels of the original's 8×8, and a margin for its corners

    def turned(image: np.ndarray, angle: float) -> np.ndarray:
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        matrix = spacing * np.array([[cos, sin], [-sin, cos]])
        offset = 3.5 - matrix @ np.full(2, (size - 1) / 2)
        pixels = affine_transform(image.astype(float), matrix, offset, (size, size), order=3)
        return np.clip(np.round(pixels), 0, 255).astype(np.uint8)

    def all_turned(split: Split) -> Split:
        angles = rng.uniform(-largest_angle, largest_angle, (copies, len(split)))
        images = [
            turned(image, angle)
            for of_copy in angles
            for image, angle in zip(split.images[..., 0], of_copy, strict=True)
        ]
        return Split(np.stack(images)[..., None], angles.ravel().astype(np.float32))

    upright = digits(0).splits
    order = rng.permutation(len(upright["train"]))
    tenth = len(order) // 10
    splits = {
        "train": upright["train"][order[tenth:]],
        "validation": upright["train"][order[:tenth]],
        "test": upright["test"],
    }
    return Source({name: all_turned(split) for name, split in splits.items()}, ())


def synthetic(
    resize: int,
    height: int = 32,
    width: int = 32,
    channels: int = 3,
    classes: int = 10,
    train_images: int = 5_000,
    test_images: int = 1_000,
) -> Source:
    """Noise around a colour for each class: for benchmarks, and to try what needs no real data.

    Args:
      resize: pixels per side; 0: height × width.
    """
    size = (resize, resize) if resize else (height, width)
    for setting, value in (
        ("height", size[0]), ("width", size[1]), ("channels", channels), ("classes", classes),
        ("train_images", train_images), ("test_images", test_images),
    ):  # fmt: skip
        if value < 1:
            raise UserError(f"config.data.{setting}={value} must be at least 1")
    rng = np.random.default_rng(0)
    colours = rng.integers(64, 192, (classes, 1, 1, channels))

    def noise(count: int) -> Split:
        labels = np.arange(count, dtype=np.int32) % classes
        images = rng.integers(-64, 64, (count, *size, channels), np.int16) + colours[labels]
        return Split(images.astype(np.uint8), labels)

    splits = {"train": noise(train_images), "test": noise(test_images)}
    names = tuple(map(str, range(classes)))
    return Source(splits, names, ("the images are synthetic: noise around a colour per class",))


def idx(resize: int, root: str = "", class_names: tuple = ()) -> Source:
    """The four IDX files of MNIST and its kin, plain or gzipped (train-images-idx3-ubyte[.gz] …).

    Format: LeCun's MNIST page: two zero bytes, the type (8: uint8), the number of dimensions, then
    each dimension as a big-endian uint32, then the data.
    """
    del resize
    folder = existing_directory("config.data.root", root)
    splits = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = _read_idx(folder, f"{prefix}-images-idx3-ubyte", dimensions=3)
        labels = _read_idx(folder, f"{prefix}-labels-idx1-ubyte", dimensions=1)
        if len(images) != len(labels):
            raise UserError(f"{folder}: {len(images)} {split} images but {len(labels)} labels")
        splits[split] = Split(images[..., None], labels.astype(np.int32))
    return Source(splits, class_names_or_numbers(class_names, splits["train"].labels))


def npz(resize: int, path: str = "", class_names: tuple = ()) -> Source:
    """An .npz file of arrays: train_images, train_labels, and the same for test and validation.

    Images are (n, height, width) or (n, height, width, channels), uint8, or float as the model shall
    see them before normalisation; labels are whole numbers from 0. Or there are train_targets in place
    of train_labels, floats (n,) or (n, …), for a regression.
    """
    del resize
    if not path or not Path(path).is_file():
        raise UserError(f"config.data.path={path!r}: there is no such file; it takes an .npz file")
    try:
        arrays = np.load(path, allow_pickle=False)
        arrays = {key: arrays[key] for key in arrays.files}
    except Exception as error:
        raise UserError(f"config.data.path={path!r} cannot be read as .npz: {error}") from error
    splits, kind = {}, "targets" if "train_targets" in arrays else "labels"
    for split in ("train", "validation", "test"):
        images, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_{kind}")
        if images is None and labels is None:
            continue
        if images is None or labels is None:
            raise UserError(
                f"{path}: {split}_images and {split}_{kind} go together; one is missing"
            )
        splits[split] = split_from_arrays(images, labels, f"{path}: {split}", kind)
    if "train" not in splits:
        raise UserError(f"{path} has no 'train_images'; it holds: {', '.join(sorted(arrays))}")
    if kind == "targets":
        if class_names:
            raise UserError(f"config.data.class_names: {path} holds targets, which have no classes")
        return Source(splits, ())
    return Source(splits, class_names_or_numbers(class_names, splits["train"].labels))


def _read_idx(root: Path, name: str, dimensions: int) -> np.ndarray:
    path = next((p for p in (root / name, root / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise UserError(f"config.data.root='{root}' has no {name} or {name}.gz")
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    header = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) < header:
        raise UserError(f"{path} is not an IDX file of uint8 in {dimensions} dimensions")
    shape = np.frombuffer(data[4:header], ">u4").astype(int)
    if len(data) - header != np.prod(shape):
        raise UserError(
            f"{path} is truncated: {len(data) - header} of {np.prod(shape)} bytes of data"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


# `resize` belongs to all of `data`; sources of files of any size need it while they read.
SOURCES = Registry("data source", not_settings=("resize",))
for _source in (digits, rotated_digits, synthetic, tfds, idx, npz, folder):
    SOURCES.register(_source.__name__, _source)
