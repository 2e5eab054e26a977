"""IDX files, as used by MNIST."""

import gzip
import zlib
from pathlib import Path
from typing import Annotated

import numpy as np

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
      UserError: a file is missing, unreadable, truncated, or not an IDX file.
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
