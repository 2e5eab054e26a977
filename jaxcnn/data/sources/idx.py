"""IDX files, as used by MNIST."""

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, Annotated

import numpy as np

from jaxcnn.data.sources.memory import COPIES, MOST_INFLATED, check_memory
from jaxcnn.data.split import Source, Split, class_names_or_numbers, existing_directory
from jaxcnn.errors import UserError
from jaxcnn.limits import PATH


def idx(resize: int, root: Annotated[str, PATH] = "", class_names: tuple = ()) -> Source:
    """The four IDX files of MNIST and similar sets, plain or gzipped (train-images-idx3-ubyte[.gz] …).

    The format, from LeCun's MNIST page: two zero bytes, the type (8: uint8), the number of dimensions,
    each dimension as a big-endian uint32, then the data.

    Args:
      root: the folder of the files.
      class_names: in label order; empty: the numbers.

    Raises:
      UserError: a file is missing, unreadable, truncated, too long, not an IDX file, or larger
        than the memory.
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


def _read_idx(root: Path, name: str, dimensions: int) -> np.ndarray:
    """The array in an IDX file, uint8."""
    path = next((p for p in (root / name, root / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise UserError(f"config.data.root='{root}' has no {name} or {name}.gz")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _array(file, path, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _array(file: IO[bytes], path: Path, dimensions: int) -> np.ndarray:
    """Reads no more than the header declares, and nothing if the file cannot hold that much."""
    start = file.read(4 + 4 * dimensions)
    if start[:4] != bytes([0, 0, 8, dimensions]) or len(start) < 4 + 4 * dimensions:
        raise UserError(f"{path} is not an IDX file of uint8 in {dimensions} dimensions")
    shape = tuple(int.from_bytes(start[i : i + 4]) for i in range(4, len(start), 4))
    if 0 in shape:
        raise UserError(f"{path} is empty: its header declares {_by(shape)} bytes of data")
    size = math.prod(shape)  # of Python's integers: NumPy's would overflow
    most = path.stat().st_size * (MOST_INFLATED if path.suffix == ".gz" else 1)
    if size > most:
        held = most if path.suffix == ".gz" else most - len(start)
        raise UserError(f"{path} is truncated: at most {held} of {size} bytes of data")
    check_memory(str(path), COPIES * size)
    data = file.read(size + 1)
    if len(data) < size:
        raise UserError(f"{path} is truncated: {len(data)} of {size} bytes of data")
    if len(data) > size:
        raise UserError(f"{path} is too long: its header declares {_by(shape)} bytes of data")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
