"""MNIST's IDX files."""

import gzip
import os
import struct
import tracemalloc

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


MANY = 2**32 - 1


def header(*shape):
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header(20, 6, 5) + bytes(50_000_000), "is too long: its header declares 20×6×5 bytes"),
        (header(100_000, 300, 300) + bytes(50_000_000), "is truncated: at most "),
        (header(100, 300, 300) + bytes(8_999_999), "is truncated: 8999999 of 9000000 bytes"),
        (header(MANY, MANY, MANY), f"{MANY**3} bytes of data"),
        (header(2**31, 2**31, 4), f"{2**64} bytes of data"),  # 0 in 64 bits
        (header(0, 6, 5), "is empty: its header declares 0×6×5 bytes"),
        (header(20, 0, 0), "is empty: its header declares 20×0×0 bytes"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_no_more_is_read_than_the_header_declares(idx_folder, content, message, compressed):
    path = idx_folder / "train-images-idx3-ubyte"
    if compressed:
        path.unlink()
        path = path.with_name(f"{path.name}.gz")
    path.write_bytes(gzip.compress(content, 1) if compressed else content)
    if not compressed:
        message = message.replace("at most ", "")
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as error:
            load("idx", root=str(idx_folder))
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert message in str(error.value)


def test_files_larger_than_the_memory(idx_folder, monkeypatch):
    class Little:
        available = 1799

    monkeypatch.setattr("psutil.virtual_memory", Little)
    with pytest.raises(UserError, match=r"images-idx3-ubyte needs 0.0 GiB of memory, but 0.0 GiB"):
        load("idx", root=str(idx_folder))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_only_regular_files_are_opened(idx_folder, suffix):
    path = idx_folder / "train-images-idx3-ubyte"
    path.unlink()
    os.mkfifo(f"{path}{suffix}")  # to open it would block
    with pytest.raises(UserError, match="has no train-images-idx3-ubyte"):
        load("idx", root=str(idx_folder))
