"""Where images come from. Each source returns its splits and its class names."""

import gzip
import socket
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from jaxcnn.data.images import EXTENSIONS, Decoder, ImageFiles, check_image_files
from jaxcnn.data.tensorflow import tensorflow
from jaxcnn.errors import UserError, suggestion
from jaxcnn.registry import Registry


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    `images` is an array (n, height, width, channels), uint8 in 0…255 or float32 as given, or files
    that are decoded when needed; `labels` is int32 (n,), the numbers of classes, or float32 (n, …),
    targets of a regression.
    """

    images: np.ndarray | ImageFiles
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index) -> "Split":
        return Split(self.images[index], self.labels[index])


@dataclass(frozen=True)
class Source:
    """What a source holds: splits named train, validation, test (train always, the others maybe).

    `class_names` is empty where the labels are targets.
    """

    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    remarks: tuple[str, ...] = ()


# `resize` belongs to all of `data`; sources of files of any size need it while they read.
SOURCES = Registry("data source", not_settings=("resize",))


def digits(resize: int) -> Source:
    """scikit-learn's embedded 1,797 handwritten digits, 8×8×1; a fixed, stratified fifth is test.

    Alpaydin & Kaynak 1998, Optical recognition of handwritten digits.
    """
    del resize
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = np.round(data.images[..., None] * (255 / 16)).astype(np.uint8)  # stored as 0…16
    train, test = train_test_split(
        np.arange(len(images)), test_size=0.2, stratify=data.target, random_state=0
    )
    all_digits = Split(images, data.target.astype(np.int32))
    return Source(
        {"train": all_digits[train], "test": all_digits[test]}, tuple(map(str, range(10)))
    )


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


def tfds(resize: int, name: str = "", data_dir: str = "") -> Source:
    """A TensorFlow Datasets image classification set, read into memory.

    Args:
      name: as in the TFDS catalogue, with a config or version where wanted.
      data_dir: where it is prepared or will be; empty: `TFDS_DATA_DIR`, else TFDS's own default.

    Raises:
      UserError: the set does not exist, is not there and cannot be fetched, or does not fit memory.
    """
    tf = tensorflow(f"--config.data.source=tfds (name={name!r})")
    import tensorflow_datasets

    if not name:
        raise UserError("config.data.name is empty; it takes the name of a TFDS set, e.g. cifar10")
    if data_dir and not Path(data_dir).is_dir():
        raise UserError(f"config.data.data_dir={data_dir!r}: there is no such directory")
    try:
        builder = tensorflow_datasets.builder(name, data_dir=data_dir or None)
    except tensorflow_datasets.core.registered.DatasetNotFoundError:
        known = tensorflow_datasets.list_builders(with_community_datasets=False)
        near = suggestion(name, known).split("; valid")[0].split(" valid:")[0]
        raise UserError(f"config.data.name={name!r}: TFDS has no such set; {near}") from None
    except (ValueError, AssertionError) as error:
        raise UserError(f"config.data.name={name!r}: {' '.join(str(error).split())}") from error
    if not builder.is_prepared():
        _download(builder, name)
    features = builder.info.features
    if not {"image", "label"} <= set(features):
        raise UserError(
            f"config.data.name={name!r} has no 'image' and 'label', but {list(features)}"
        )

    shape = features["image"].shape
    if None in shape and not resize:
        raise UserError(
            f"the images of {name!r} differ in size; --config.data.resize=224, say, makes them equal"
        )
    decoder = Decoder(resize if None in shape else 0, shape[-1])
    splits, needed = {}, 0
    for split in [s for s in ("train", "validation", "test") if s in builder.info.splits]:
        count = builder.info.splits[split].num_examples
        size = resize * resize * shape[-1] if None in shape else int(np.prod(shape))
        needed += 3 * count * size  # read, sorted and split, held by tf.data
        _check_memory(repr(name), needed)
        dataset = builder.as_dataset(split=split, shuffle_files=False)
        dataset = dataset.map(
            lambda example: (decoder.fitted(example["image"]), example["label"]),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        images, labels = dataset.batch(count).get_single_element()
        splits[split] = Split(images.numpy(), labels.numpy().astype(np.int32))
    if "train" not in splits:
        raise UserError(f"config.data.name={name!r} has no split 'train'")
    return Source(splits, tuple(features["label"].names))


def idx(resize: int, root: str = "", class_names: tuple = ()) -> Source:
    """The four IDX files of MNIST and its kin, plain or gzipped (train-images-idx3-ubyte[.gz] …).

    Format: LeCun's MNIST page: two zero bytes, the type (8: uint8), the number of dimensions, then
    each dimension as a big-endian uint32, then the data.
    """
    del resize
    folder = _directory("config.data.root", root)
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


def folder(resize: int, root: str = "", channels: int = 3, on_error: str = "stop") -> Source:
    """A folder of .jpg and .png images: root/SPLIT/CLASS/*, or root/CLASS/*, which is all train.

    Args:
      root: holds `train`, maybe `validation` (or `val`) and `test`, each with one folder per class;
        or the folders of the classes themselves.
      channels: 3 for colour, 1 for grey; images of the other kind are converted.
      on_error: 'stop' at an image that cannot be read, or 'skip' it.

    Raises:
      UserError: no such folder, no images in it, an unreadable image, or images of several sizes.
    """
    top = _directory("config.data.root", root)
    if on_error not in ("stop", "skip"):
        raise UserError(f"config.data.on_error={on_error!r}; valid: 'stop', 'skip'")
    if channels not in (1, 3):
        raise UserError(f"config.data.channels={channels}; valid: 1, 3")
    if (top / "train").is_dir():
        names = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
        split_folders = {top / f: split for f, split in names.items() if (top / f).is_dir()}
    else:
        split_folders = {top: "train"}

    class_names: tuple[str, ...] = ()
    splits, remarks = {}, []
    for split_folder, split in split_folders.items():
        paths = sorted(p for p in split_folder.glob("*/*") if p.suffix.lower() in EXTENSIONS)
        if not paths:
            raise UserError(
                f"config.data.root={root!r}: no .jpg or .png in {split_folder}/CLASS/; "
                "expected root/train/CLASS/image.jpg or root/CLASS/image.jpg"
            )
        classes = [path.parent.name for path in paths]
        class_names = class_names or tuple(sorted(set(classes)))
        for path, name in zip(paths, classes, strict=True):
            if name not in class_names:
                raise UserError(
                    f"{path.parent}: train has no class '{name}'; {suggestion(name, class_names)}"
                )
        files, readable, unreadable = check_image_files(paths, Decoder(resize, channels), on_error)
        labels = np.array([class_names.index(classes[i]) for i in readable], np.int32)
        splits[split] = Split(files, labels)
        if unreadable:
            remarks.append(
                f"skipped {len(unreadable)} unreadable of {len(paths)} {split} images: "
                + "; ".join(unreadable)
            )
    return Source(splits, class_names, tuple(remarks))


for _source in (digits, rotated_digits, tfds, idx, npz, folder):
    SOURCES.register(_source.__name__, _source)


def split_from_arrays(
    images: np.ndarray, labels: np.ndarray, where: str, kind: str = "labels"
) -> Split:
    """Checks and converts arrays as `npz` describes them.

    Args:
      where: begins an error's line.
      kind: 'labels' or 'targets'.
    """
    if len(images) != len(labels) or len(images) == 0:
        raise UserError(
            f"{where}_images and {where.split()[-1]}_{kind} must be of one length, at least 1; "
            f"they have {len(images)} and {len(labels)}"
        )
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4:
        raise UserError(
            f"{where}_images has shape {images.shape}; "
            "it must be (n, height, width) or (n, height, width, channels)"
        )
    images = images if images.dtype == np.uint8 else images.astype(np.float32)
    if kind == "targets":
        return Split(images, _targets(labels, f"{where}_targets"))
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{where}_labels is {labels.dtype} {labels.shape}; it must be whole numbers (n,)"
        )
    if labels.min() < 0 or labels.max() > np.iinfo(np.int32).max:
        wrong = labels[(labels < 0) | (labels > np.iinfo(np.int32).max)]
        raise UserError(f"{where}_labels holds {wrong[0]}; labels are whole numbers from 0")
    return Split(images, labels.astype(np.int32))


def _targets(targets: np.ndarray, where: str) -> np.ndarray:
    if not np.issubdtype(targets.dtype, np.number) or np.iscomplexobj(targets):
        raise UserError(f"{where} is {targets.dtype}; targets are numbers")
    targets = targets.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(targets.reshape(len(targets), -1)).all(axis=1))
    if len(wrong):
        raise UserError(f"{where} holds NaN or infinity, first in example {wrong[0]}")
    return targets


def class_names_or_numbers(given: tuple, train_labels: np.ndarray) -> tuple[str, ...]:
    """The names given, or else as many numbers as the training labels need.

    Raises:
      UserError: no names are given, and some number below the largest label labels no image.
    """
    if not given:
        present = np.unique(train_labels)
        if len(present) != present[-1] + 1:
            missing = np.setdiff1d(np.arange(min(present[-1], 10**6)), present)[0]
            raise UserError(
                f"the labels go up to {present[-1]}, but no training image has the label {missing}; "
                "number the classes from 0 without a gap, or name them all with class_names"
            )
    return tuple(map(str, given)) or tuple(map(str, range(int(train_labels.max()) + 1)))


def _directory(setting: str, path: str) -> Path:
    if not path or not Path(path).is_dir():
        raise UserError(f"{setting}={path!r}: there is no such directory")
    return Path(path)


def _read_idx(root: Path, name: str, dimensions: int) -> np.ndarray:
    path = next((p for p in (root / name, root / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise UserError(f"config.data.root='{root}' has no {name} or {name}.gz")
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    header = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, 8, dimensions]):
        raise UserError(f"{path} is not an IDX file of uint8 in {dimensions} dimensions")
    shape = np.frombuffer(data[4:header], ">u4").astype(int)
    if len(data) - header != np.prod(shape):
        raise UserError(
            f"{path} is truncated: {len(data) - header} of {np.prod(shape)} bytes of data"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _download(builder, name: str) -> None:
    advice = (
        f"prepare it on a machine with a network (`tfds build {name}`) and "
        "set TFDS_DATA_DIR or --config.data.data_dir to the folder that holds it"
    )
    try:
        # TFDS asks each of its servers again and again for minutes; a name look-up tells at once.
        if not urllib.request.getproxies():
            socket.getaddrinfo("storage.googleapis.com", 443)
        builder.download_and_prepare()
    except Exception as error:
        raise UserError(
            f"TFDS set {name!r} is not in {builder.data_dir} and cannot be fetched "
            f"({type(error).__name__}); {advice}"
        ) from error


def _check_memory(what: str, size: int) -> None:
    free = psutil.virtual_memory().available
    if size > free:
        raise UserError(
            f"{what} takes {size / 2**30:.1f} GiB in memory and {free / 2**30:.1f} GiB are free; "
            "a smaller --config.data.resize makes it fit"
        )
