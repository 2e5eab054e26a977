"""Files with changed bytes, for every reader: it reads them or refuses them in one line, soon.

`python -m pytest -s tests/faults/fuzz.py` takes FUZZ_SECONDS, 600, for each reader;
tests/data/sources/test_fuzz.py a moment. What a reader does not survive stays in the folder that is
printed, and so does a file at which the process dies.
"""

import contextlib
import faulthandler
import gzip
import importlib.util
import io
import json
import os
import random
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import psutil
import pytest
from PIL import Image
from safetensors.numpy import save

from jaxcnn.config import default_config
from jaxcnn.data.sources.decoding import Decoder, read_image
from jaxcnn.errors import UserError
from jaxcnn.models.registry import create_model
from jaxcnn.train.experiment import resolve
from jaxcnn.train.workdir import Workdir
from jaxcnn.transfer.converted import load_converted, save_converted
from jaxcnn.transfer.weight_files import as_arrays, read_weights
from tests.data.sources.loading import load
from tests.data.sources.picture_files import exif, png
from tests.data.sources.test_idx import write_idx

SECONDS = float(os.environ.get("FUZZ_SECONDS", 600))
_SLOWEST = 20.0  # seconds for a file, on a busy machine
_MEMORY = 2 * 2**30  # bytes
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
_NUMBERS = (
    0,
    1,
    2,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)


class Reader(NamedTuple):
    """How a file is read.

    Attributes:
      name: of the file.
      prepare: makes whole files in a folder; some of them have this name.
      contents: of whole files of this name.
      read: reads the file, from the folder.
    """

    name: str
    contents: Callable[[], list[bytes]]
    read: Callable[[Path], object]
    prepare: Callable[[Path], object] = lambda folder: None


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The content with a few changes."""
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        content = chance.choice(_CHANGES)(content, chance)
    return content


def _flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    changed[_place(changed, chance)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _insert(content: bytes, chance: random.Random) -> bytes:
    at, start = chance.randrange(len(content) + 1), chance.randrange(len(content) + 1)
    more = chance.choice((chance.randbytes(8), content[start : start + 32], b"\0" * 32))
    return content[:at] + more + content[at:]


def _number(content: bytes, chance: random.Random) -> bytes:
    """Another number in place of one, as bytes or as text."""
    size, order = chance.choice((1, 2, 4, 8)), chance.choice(("big", "little"))
    number = chance.choice(_NUMBERS)
    other = (number % 2 ** (8 * size)).to_bytes(size, order)
    at = _place(content, chance)
    digits = [i for i, byte in enumerate(content[:4096]) if 48 <= byte < 58]
    if digits and chance.random() < 0.5:
        at, size, other = chance.choice(digits), 1, str(chance.choice((number, -1, 1e400))).encode()
    return content[:at] + other + content[at + size :]


def _place(content: bytes, chance: random.Random) -> int:
    """More often at the beginning, where the headers are."""
    return chance.randrange(max(1, min(len(content), chance.choice((32, 256, len(content))))))


_CHANGES = (_flip, _cut, _insert, _number, _number)


def _images(form: str) -> list[bytes]:
    rng, files = np.random.default_rng(0), []
    for mode in ("RGB", "L", "1"):
        file = io.BytesIO()
        pixels = Image.fromarray(rng.integers(0, 256, (9, 14, 3)).astype(np.uint8))
        settings = {} if form in ("GIF", "BMP") else {"exif": exif(6)}
        with contextlib.suppress(OSError):  # not all formats have all modes
            pixels.convert(mode).save(file, form, **settings)
            files.append(file.getvalue())
    if form == "PNG":
        files.append(png("colour", 16, rng.integers(0, 2**16, (9, 14, 3)), interlaced=True))
        files.append(png("palette", 8, np.zeros((9, 14, 1), int)))
    if form == "TIFF":
        for compression in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
            file = io.BytesIO()
            pixels.save(file, form, compression=compression)
            files.append(file.getvalue())
    return files


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (12, 5, 4)).astype(np.uint8),
        "train_labels": np.arange(12) % 3,
        "test_images": rng.random((3, 5, 4)).astype(np.float32),
        "test_labels": np.arange(3),
    }


def _saved(write: Callable) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        write(path)
        return next(Path(folder).iterdir()).read_bytes()


def _idx(folder: Path) -> None:
    arrays = _arrays()
    for prefix, split in (("train", "train"), ("t10k", "test")):
        images = arrays[f"{split}_images"].astype(np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(
            folder / f"{prefix}-labels-idx1-ubyte", arrays[f"{split}_labels"].astype(np.uint8)
        )


def _gzipped_idx(folder: Path) -> None:
    _idx(folder)
    (folder / "train-images-idx3-ubyte").unlink()


def _image_idx() -> bytes:
    return _saved(lambda path: write_idx(path, _arrays()["train_images"]))


def _npz() -> list[bytes]:
    arrays = _arrays()
    arrays["test_images"] = arrays["test_images"].astype(np.uint8)
    return [
        _saved(lambda path, save=s: save(path, **arrays)) for s in (np.savez, np.savez_compressed)
    ]


_WEIGHTS = {"a.weight": np.ones((3, 4), np.float32), "a.bias": np.arange(3), "b": np.float16([1])}


def _torch_files() -> list[bytes]:
    import torch

    tensors = {name: torch.tensor(array) for name, array in _WEIGHTS.items()}
    saved = {"model": tensors, "epoch": 3, "history": np.arange(3)}
    return [
        _saved(lambda path, new=new: torch.save(saved, path, _use_new_zipfile_serialization=new))
        for new in (True, False)
    ]


def _weights(path: Path) -> None:
    for tensors in read_weights(path).entries.values():
        as_arrays(tensors, str(path))


def _converted(folder: Path) -> None:
    import jax

    fields = {"widths": (2,), "hidden": 3}
    model = create_model("simple_cnn", num_classes=2, **fields)
    variables = jax.device_get(model.init(jax.random.key(0), np.zeros((1, 8, 8, 1)), False))
    save_converted(folder / "model", "simple_cnn", 2, fields, variables, "somewhere")


def _of_converted(name: str) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        _converted(Path(folder))
        return [Path(folder, "model", name).read_bytes()]


def _with_config(folder: Path) -> None:
    (folder / "config.json").write_bytes(_config()[0])


def _config() -> list[bytes]:
    config = resolve(default_config())
    return [json.dumps(config.to_dict(), indent=2).encode()]


def _metrics() -> list[bytes]:
    lines = [{"step": i, "split": "train", "loss": 0.5, "time": 1e9} for i in range(5)]
    return ["".join(f"{json.dumps(line)}\n" for line in lines).encode()]


def _rewind(folder: Path) -> None:
    Workdir(folder).read_metrics()
    Workdir(folder).rewind_metrics(3)


READERS = {
    "idx": Reader("train-images-idx3-ubyte", lambda: [_image_idx()],
                  lambda folder: load("idx", root=str(folder)), _idx),
    "gzipped idx": Reader("train-images-idx3-ubyte.gz", lambda: [gzip.compress(_image_idx())],
                          lambda folder: load("idx", root=str(folder)), _gzipped_idx),
    "npz": Reader("x.npz", _npz, lambda folder: load("npz", path=str(folder / "x.npz"))),
    **{
        form: Reader(f"x.{form.lower()}", lambda form=form: _images(form),
                     lambda folder, form=form: read_image(Decoder(8, 3), folder / f"x.{form.lower()}"))
        for form in _FORMATS
    },
    "safetensors": Reader("x.safetensors", lambda: [save(_WEIGHTS, {"format": "pt"})],
                          lambda folder: _weights(folder / "x.safetensors")),
    "pth": Reader("x.pth", _torch_files, lambda folder: _weights(folder / "x.pth")),
    "variables": Reader("model/variables.safetensors", lambda: _of_converted("variables.safetensors"),
                        lambda folder: load_converted(folder / "model"), _converted),
    "model.json": Reader("model/model.json", lambda: _of_converted("model.json"),
                         lambda folder: load_converted(folder / "model"), _converted),
    "config.json": Reader("config.json", _config, lambda folder: Workdir(folder).read_config()),
    "metrics.jsonl": Reader("metrics.jsonl", _metrics, _rewind, _with_config),
}  # fmt: skip


class Outcome(NamedTuple):
    """How many files a reader read, how many it refused, and what it did not survive."""

    read: int
    refused: int
    failures: list[str]


def fuzzed(name: str, seconds: float, kept: Path, seed: int = 0) -> Outcome:
    """Lets a reader read changed files for so long; keeps the files that it does not survive."""
    reader, chance = READERS[name], random.Random(f"{name} {seed}")
    contents, count, failures = reader.contents(), {True: 0, False: 0}, []
    kept.mkdir(parents=True, exist_ok=True)
    stderr = os.fdopen(os.dup(2), "w")  # while an image is read, 2 is something else
    with stderr, tempfile.TemporaryDirectory() as folder, bounded_memory(_MEMORY):
        reader.prepare(Path(folder))
        file = Path(folder, reader.name)
        file.write_bytes(contents[0])
        reader.read(Path(folder))  # what takes long at first, and that whole files are read
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            content = mutated(chance.choice(contents), chance)
            file.write_bytes(content)
            copy = kept / f"{name} {sum(count.values())}{file.suffix}"
            copy.write_bytes(content)
            said, was_read = _outcome(reader, Path(folder), stderr)
            count[was_read] += 1
            if said:
                failures.append(f"{copy}: {said}")
            else:
                copy.unlink()
    return Outcome(count[True], count[False], failures)


def _outcome(reader: Reader, folder: Path, stderr: IO[str]) -> tuple[str, bool]:
    """What is wrong with how a file is read, or ''; and whether it is read."""
    before, start = _peak(), time.monotonic()
    faulthandler.dump_traceback_later(6 * _SLOWEST, exit=True, file=stderr)
    said, was_read = "", False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(folder)
        was_read = True
    except UserError as error:
        said = "more than a line" if "\n" in str(error) else ""
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    if (took := time.monotonic() - start) > _SLOWEST:
        said = f"{took:.0f} seconds"
    if (more := _peak() - before) > _MEMORY / 4:
        said = f"{more:,} bytes of memory"
    return said, was_read


def _peak() -> int:
    """The most memory that the process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def bounded_memory(more: int):
    """Lets the process have so many bytes more than it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def has_what_it_needs(name: str) -> bool:
    return name != "pth" or importlib.util.find_spec("torch") is not None


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", READERS)
def test_changed_files_are_read_or_refused_in_a_line(name):
    if not has_what_it_needs(name):
        pytest.skip("needs torch")
    kept = Path(tempfile.mkdtemp(prefix="fuzz-"))
    print(f"\n{name}: {SECONDS:g} s; what is kept is in {kept}")
    outcome = fuzzed(name, SECONDS, kept, int(os.environ.get("FUZZ_SEED", 0)))
    print(f"{name}: {outcome.read:,} read, {outcome.refused:,} refused, {outcome.failures[:5]}")
    assert not outcome.failures
    shutil.rmtree(kept)
