"""A folder of broken images, read again and again in one process: it never stops moving.

`python -m pytest -s tests/faults/decoding.py` reads it 10,000 times (LOADS), in half an hour;
tests/data/sources/test_broken_folders.py 80 times.
"""

import faulthandler
import gc
import io
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.sources import examining
from jaxcnn.data.sources.folder import folder
from tests.data.sources.picture_files import chunk, png

LOADS = int(os.environ.get("LOADS", 10_000))
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")


def broken(rng):
    """Files that cannot be decoded, by name: cut short and with wrong bytes, of every format."""
    files = {"empty.png": b"", "text.jpg": b"GET / HTTP/1.1\r\n" * 20}
    for form in _FORMATS:
        file = io.BytesIO()
        pixels = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(file, form)
        whole = file.getvalue()
        # TensorFlow decodes these two; the others, Pillow.
        for tenths in range(3, 10) if form in ("JPEG", "PNG") else (3, 6):
            files[f"{tenths}.{form.lower()}"] = whole[: len(whole) * tenths // 10]
    deep = png("colour", 16, rng.integers(0, 2**16, (12, 12, 3)))
    wrong = png("grey", 8, rng.integers(0, 256, (12, 12, 1)), before=chunk(b"PLTE", b"abcd"))
    return {**files, "deep.png": deep[:-60], "palette.png": wrong[:-30]}


def make_folder(root: Path, copies: int, good: int) -> None:
    """root/{a,b}: so many copies of each broken file, and of a good one."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for file, content in broken(rng).items():
            for i in range(copies):
                (root / name / f"{i} {file}").write_bytes(content)
        for i in range(good):
            Image.new("RGB", (12, 12), (9 * i, 0, 0)).save(root / name / f"{i}.png")


def read_often(root: Path, loads: int, monkeypatch) -> int:
    """Reads a folder so often, never from the cache; returns the number of broken files.

    Garbage is collected often, and threads take turns often. If a load takes a minute, the process
    prints where its threads are, and exits.
    """
    monkeypatch.setattr(examining, "cached", lambda name, depends_on, compute, *_: compute())
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(100)
    sys.setswitchinterval(1e-4)
    stderr = os.fdopen(os.dup(2), "w")  # while files are read, 2 is something else
    try:
        for _ in range(loads):
            faulthandler.dump_traceback_later(60, exit=True, file=stderr)
            source = folder(8, root=str(root), on_error="skip")
    finally:
        faulthandler.cancel_dump_traceback_later()
        stderr.close()
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
    files = sum(path.is_file() for path in root.rglob("*"))
    return files - len(source.splits["train"])


@pytest.mark.timeout(6 * 3600)
def test_broken_images_are_read_10_000_times(tmp_path, monkeypatch):
    make_folder(tmp_path, copies=1, good=4)
    start = time.monotonic()
    assert read_often(tmp_path, LOADS, monkeypatch) == 52
    print(f"\n{LOADS:,} loads of 52 broken and 8 good files: {time.monotonic() - start:.0f} s")
