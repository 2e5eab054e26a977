"""Images that stay on disk, encoded, in files of their own or in shards: read, decoded, measured."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from jaxcnn.data.sources.cache import cached, stamp
from jaxcnn.data.sources.complaints import Complaints, held_back
from jaxcnn.data.sources.decoding import (
    Decoder,
    deep_values,
    read_listening,
    read_with_header,
    reason,
)
from jaxcnn.data.sources.headers import EXTENSIONS, Unsuitable
from jaxcnn.errors import UserError
from jaxcnn.tensorflow import tensorflow

T = TypeVar("T")
U = TypeVar("U")

# Where an image's bytes are, its EXIF orientation (1: upright), and its height and width when upright.
PLACE = np.dtype(
    [("file", "i4"), ("offset", "i8"), ("length", "i8"), ("orientation", "i1"), ("size", "i4", 2)]
)


@dataclass(frozen=True)
class EncodedImages:
    """Images that stay on disk and are decoded when they are needed.

    Attributes:
      files: text (files,), the files that hold them.
      places: PLACE (n,), where each is in them.
      decoder: makes uint8 images of `shape` (height, width, channels) of their bytes.
      moments: float64 (n, 2, channels), the sums of each image's pixels and of their squares; None
        where they have not been measured.
      unusual: bool (n,), `Header.unusual`; None where all are usual.
    """

    files: np.ndarray
    places: np.ndarray
    decoder: Decoder
    shape: tuple[int, int, int]
    moments: np.ndarray | None = None
    unusual: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index) -> "EncodedImages":
        given = {"moments": self.moments, "unusual": self.unusual}
        parts = {name: array[index] for name, array in given.items() if array is not None}
        return replace(self, places=self.places[index], **parts)

    def name(self, position: int) -> str:
        """What a message calls an image."""
        place = self.places[position]
        file = str(self.files[place["file"]])
        return file if place["offset"] == 0 else f"{file}, byte {place['offset']}"

    def read(self, positions: np.ndarray) -> np.ndarray:
        """The bytes of images, an array of objects."""
        encoded = np.empty(len(positions), object)
        for i, place in enumerate(self.places[positions]):
            with open(str(self.files[place["file"]]), "rb", buffering=0) as file:
                file.seek(place["offset"])
                encoded[i] = file.read(place["length"])
        return encoded

    def decoded(self, position: int, box: np.ndarray | None = None) -> np.ndarray:
        """An image, uint8 of `shape`.

        Raises:
          UserError: it cannot be read or decoded.
        """
        tf = tensorflow("decoding images")
        try:
            (encoded,) = self.read(np.array([position]))
            orientation = self.places["orientation"][position]
            unusual = self.unusual is not None and self.unusual[position]
            return self.decoder(encoded, orientation, box, unusual).numpy()
        except (tf.errors.OpError, OSError, Unsuitable) as error:
            raise UserError(
                f"cannot read the image {self.name(position)}: {reason(error)}"
            ) from error

    def sums(self) -> np.ndarray:
        """float64 (2, channels): the sum of all images' moments, cached, for which each is decoded."""
        if self.moments is not None:
            return self.moments.sum(0)
        content = hashlib.blake2b(np.ascontiguousarray(self.places), digest_size=16).hexdigest()
        paths = [Path(str(file)) for file in self.files]
        depends_on = self.decoder, [(path.name, *stamp(path)) for path in paths], content

        def compute() -> dict[str, np.ndarray]:
            def moments(position):
                return moments_of(self.decoded(position))

            return {"sums": sum(in_threads(moments, range(len(self)), "mean and deviation"))}

        return cached("sums", depends_on, compute)["sums"]


def moments_of(image: np.ndarray) -> np.ndarray:
    """float64 (2, channels): the sums of a uint8 image's pixels and of their squares."""
    pixels = image.astype(np.int64)
    return np.stack([pixels.sum((0, 1)), (pixels**2).sum((0, 1))]).astype(np.float64)


class Found(NamedTuple):
    """The image files that can be read, and what is to be said of the others and of some of them.

    Attributes:
      readable: int64, their positions in the paths.
      unreadable: a line about each file that is not.
      damaged: a line about each that is damaged, and yet readable.
      bits: int64 (n,), per channel.
      largest: int64 (n,), the largest value of those with more than 8 bits; of others 0.
    """

    images: EncodedImages
    readable: np.ndarray
    unreadable: list[str]
    damaged: list[str]
    bits: np.ndarray
    largest: np.ndarray


def image_files(paths: Sequence[Path], decoder: Decoder, folder: Path, name: str) -> Found:
    """Decodes every file once, and caches what is known of it then.

    Args:
      folder: that the files are in; wherever it is moved, what is known is found again.
      name: of the cache (`cached`).

    Raises:
      UserError: the readable images differ in size, or there are none.
    """
    depends_on = (
        decoder,
        PLACE.descr,
        EXTENSIONS,
        [(str(path.relative_to(folder)), *stamp(path)) for path in paths],
    )

    def left_out(index) -> list:
        missing = np.setdiff1d(np.arange(len(paths)), index["readable"])
        return [_tried(paths[i], decoder, complaints) for i in missing]

    def is_valid(index) -> bool:
        # What could not be read is tried again: its time does not tell that its owner now allows it.
        return all(isinstance(line, UserError) for line in left_out(index))

    with held_back() as complaints:
        index = cached(name, depends_on, lambda: _index(paths, decoder, complaints), is_valid)
        unreadable = list(map(str, left_out(index)))
    readable = index["readable"]
    places = np.zeros(len(readable), PLACE)
    places["file"] = np.arange(len(places))
    for field in ("length", "orientation", "size"):
        places[field] = index[field]
    files = np.array([str(paths[i]) for i in readable], object)
    shape = tuple(map(int, index["shape"]))
    images = EncodedImages(files, places, decoder, shape, index["moments"], index["unusual"])
    damaged = [
        f"{path}: {said}" for path, said in zip(files, index["said"].tolist(), strict=True) if said
    ]
    return Found(images, readable, unreadable, damaged, index["bits"], index["largest"])


class _Known(NamedTuple):
    """What the index keeps of an image: `Header`'s, and what decoding it showed."""

    shape: tuple[int, ...]
    moments: np.ndarray
    orientation: int
    size: tuple[int, int]
    length: int  # in bytes
    unusual: bool
    bits: int
    largest: int
    said: str = ""


def _index(
    paths: Sequence[Path], decoder: Decoder, complaints: Complaints
) -> dict[str, np.ndarray]:
    """What is known of the image files that can be read, an array for each field of `_Known`."""

    def examined(path: Path) -> tuple[_Known | UserError, bool]:
        before = complaints.mark()
        known = _tried(path, decoder)
        return known, complaints.mark() != before

    of_all, suspects = zip(
        *in_threads(examined, paths, "reading", complaints.terminal), strict=True
    )
    found = list(of_all)
    for i in np.flatnonzero(suspects):  # of several that were decoded at once, one complained
        found[i] = _tried(paths[i], decoder, complaints)
    readable = np.array([i for i, f in enumerate(found) if not isinstance(f, UserError)], np.int64)
    if len(readable) == 0:
        raise UserError(f"none of the {len(paths)} image files can be read: {found[0]}")
    known = [found[i] for i in readable]
    for position, one in zip(readable, known, strict=True):
        if one.shape != known[0].shape:
            raise UserError(
                f"images differ in size: {paths[readable[0]]} is {_size(known[0].shape)}, "
                f"{paths[position]} is {_size(one.shape)}; config.data.resize=64, say, makes them "
                "equal"
            )
    arrays = {field: np.array([getattr(one, field) for one in known]) for field in _Known._fields}
    return {**arrays, "readable": readable, "shape": np.array(known[0].shape)}


def _tried(
    path: Path, decoder: Decoder, complaints: Complaints | None = None
) -> _Known | UserError:
    """What is known of an image, with complaints where they are listened to; or why it is not."""
    try:
        if complaints is None:
            (image, header), said = read_with_header(decoder, path), ()
        else:
            image, header, said = read_listening(decoder, path, complaints)
    except UserError as error:
        return error
    return _Known(
        shape=image.shape,
        moments=moments_of(image),
        orientation=header.orientation,
        size=header.size,
        length=path.stat().st_size,
        unusual=header.unusual,
        bits=header.bits,
        largest=int(deep_values(path.read_bytes()).max()) if header.bits > 8 else 0,
        said="; ".join(said),
    )


def in_threads(
    function: Callable[[T], U], items: Sequence[T], doing: str, terminal: IO[str] | None = None
) -> Iterator[U]:
    """What a function makes of each item, in their order, with a progress bar on a terminal.

    Args:
      terminal: where the bar is drawn; None: stderr.
    """
    # In parts, since a million tasks in a pool's queue take two GB; as many as the threads can share.
    size = max(1, min(64, len(items) // 64))
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(items), desc=doing, leave=False, disable=None, file=terminal) as bar,
    ):
        for made in pool.map(lambda part: [function(item) for item in part], parts):
            bar.update(len(made))
            yield from made


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape[:2]))
