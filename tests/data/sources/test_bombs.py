"""Files of a few megabytes that unpack to gigabytes: how much memory the process takes to refuse them."""

import gzip
import io
import zipfile
import zlib

import numpy as np
import pytest

from tests.conftest import start_python
from tests.data.sources.picture_files import chunk
from tests.data.sources.test_idx import write_idx
from tests.data.sources.test_images import png

GIGABYTE = 2**30
# Reads a source before the memory is measured, so that what it imports does not count.
SCRIPT = """
import resource, sys
from jaxcnn.data.sources.table import SOURCES
from jaxcnn.errors import UserError
name, setting, good, bomb = sys.argv[1:]
SOURCES.create(name, 8, **{setting: good})
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
try:
    SOURCES.create(name, 8, **{setting: bomb})
except UserError as error:
    print(peak() - before, error, sep="\\n", end="")
"""


def refused(name, setting, good, bomb):
    """The bytes of memory that it took, and the message."""
    child = start_python("-c", SCRIPT, name, setting, good, bomb)
    taken, *lines = child.communicate()[0].splitlines()
    assert child.returncode == 0
    assert len(lines) == 1, lines
    return int(taken), lines[0]


def test_a_gzipped_idx_file_of_8_gigabytes(tmp_path):
    for folder in ("good", "bomb"):
        (tmp_path / folder).mkdir()
        for prefix in ("train", "t10k"):
            images, labels = np.zeros((4, 5, 4), np.uint8), np.arange(4, dtype=np.uint8)
            write_idx(tmp_path / folder / f"{prefix}-images-idx3-ubyte", images)
            write_idx(tmp_path / folder / f"{prefix}-labels-idx1-ubyte", labels)
    path = tmp_path / "bomb" / "train-images-idx3-ubyte"
    start, zeros = path.read_bytes(), gzip.compress(bytes(GIGABYTE // 64), 1)
    path.with_suffix(".gz").write_bytes(gzip.compress(start) + 8 * 64 * zeros)
    path.unlink()
    taken, message = refused("idx", "root", tmp_path / "good", tmp_path / "bomb")
    assert taken < GIGABYTE // 4
    assert message == f"{path}.gz is too long: its header declares 4×5×4 bytes of data"


@pytest.mark.parametrize(
    "declared",
    [(4, 5, 4), (8, 2**15, 2**15), (2**31, 2**31, 2**31)],
    ids=["few", "many", "overflow"],
)
def test_an_npz_file(tmp_path, declared):
    arrays = {"train_images": np.zeros((4, 5, 4), np.uint8), "train_labels": np.arange(4) % 2}
    np.savez(tmp_path / "good.npz", **arrays)
    header, labels = io.BytesIO(), io.BytesIO()
    kind = {"descr": "|u1", "fortran_order": False, "shape": declared}
    np.lib.format.write_array_header_1_0(header, kind)
    np.save(labels, arrays["train_labels"])
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("train_labels.npy", labels.getvalue())
        with file.open("train_images.npy", "w") as member:
            member.write(header.getvalue())
            for _ in range(16):
                member.write(bytes(GIGABYTE // 16))
    taken, message = refused("npz", "path", tmp_path / "good.npz", tmp_path / "bomb.npz")
    assert taken < GIGABYTE // 4
    assert "train_images" in message


def gigabyte_of_zeros():
    """As zlib compresses it."""
    compressor = zlib.compressobj(1)
    parts = [compressor.compress(bytes(GIGABYTE // 64)) for _ in range(64)]
    return b"".join(parts) + compressor.flush()


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_png_with_a_chunk_of_a_gigabyte(tmp_path, kind):
    start = b"a\0\1\0\0\0" if kind == b"iTXt" else b"a\0\0"
    before = {"good": b"", "bomb": chunk(kind, start + gigabyte_of_zeros())}
    for folder, more in before.items():
        for name in ("a", "b"):
            (tmp_path / folder / name).mkdir(parents=True)
            (tmp_path / folder / name / "0.png").write_bytes(png(16, before=more))
    taken, message = refused("folder", "root", tmp_path / "good", tmp_path / "bomb")
    assert taken < GIGABYTE // 4
    assert f"{tmp_path}/bomb/a/0.png: Decompressed data too large" in message
