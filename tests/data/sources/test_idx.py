"""MNIST's IDX files."""

import gzip
import struct

import numpy as np
import pytest

from jaxcnn.errors import UserError
from tests.data.sources.loading import load

pytestmark = pytest.mark.fast


def write_idx(path, array, compress=False):
    data = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data += array.tobytes()
    path.write_bytes(gzip.compress(data) if compress else data)


@pytest.fixture
def idx_folder(tmp_path, rng):
    for prefix, count in (("train", 20), ("t10k", 5)):
        images = rng.integers(0, 256, (count, 6, 5)).astype(np.uint8)
        labels = (np.arange(count) % 3).astype(np.uint8)
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", images)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", labels, compress=True)
    return tmp_path


def test_idx_plain_and_gzipped(idx_folder):
    source = load("idx", root=str(idx_folder))
    assert source.splits["train"].images.shape == (20, 6, 5, 1)
    assert source.splits["test"].labels.tolist() == [0, 1, 2, 0, 1]
    assert source.class_names == ("0", "1", "2")
    assert load("idx", root=str(idx_folder), class_names=("a", "b", "c")).class_names[1] == "b"


def test_idx_errors(idx_folder):
    path = idx_folder / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with pytest.raises(UserError, match="is truncated: 593 of 600 bytes"):
        load("idx", root=str(idx_folder))
    path.write_bytes(b"PNG!" + whole[4:])
    with pytest.raises(UserError, match="is not an IDX file of uint8 in 3 dimensions"):
        load("idx", root=str(idx_folder))
    path.unlink()
    with pytest.raises(UserError, match=r"has no train-images-idx3-ubyte or .*\.gz"):
        load("idx", root=str(idx_folder))
    labels = idx_folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(whole)
    labels.write_bytes(labels.read_bytes()[:-9])
    with pytest.raises(UserError, match="labels-idx1-ubyte.gz cannot be read"):
        load("idx", root=str(idx_folder))
    labels.write_bytes(gzip.compress(b"")[:10] + b"\xff" * 20)
    with pytest.raises(UserError, match="labels-idx1-ubyte.gz cannot be read"):
        load("idx", root=str(idx_folder))
    path.write_bytes(whole[:6])
    with pytest.raises(UserError, match="is not an IDX file of uint8 in 3 dimensions"):
        load("idx", root=str(idx_folder))
    with pytest.raises(UserError, match="config.data.root='/nowhere': there is no such directory"):
        load("idx", root="/nowhere")
