"""Images that stay on disk, encoded, in files of their own or in shards: read, decoded, measured."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from jaxcnn.data.sources.cache import cached, stamp
from jaxcnn.data.sources.decoding import Decoder, read_with_header, reason
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
    """

    files: np.ndarray
    places: np.ndarray
    decoder: Decoder
    shape: tuple[int, int, int]
    moments: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index) -> "EncodedImages":
        moments = None if self.moments is None else self.moments[index]
        return replace(self, places=self.places[index], moments=moments)

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
            return self.decoder(encoded, self.places["orientation"][position], box).numpy()
        except (tf.errors.OpError, OSError) as error:
            raise UserError(
                f"cannot read the image {self.name(position)}: {reason(error)}"
            ) from error

    def sums(self) -> np.ndarray:
        """float64 (2, channels): the sum of all images' moments, cached, for which each is decoded."""
        if self.moments is not None:
            return self.moments.sum(0)
        first = Path(self.files[0])
        content = hashlib.blake2b(np.ascontiguousarray(self.places), digest_size=16).hexdigest()
        paths = [Path(str(file)) for file in self.files]
        depends_on = self.decoder, [(path.name, *stamp(path)) for path in paths], content

        def compute() -> dict[str, np.ndarray]:
            def moments(position):
                return moments_of(self.decoded(position))

            return {"sums": sum(in_threads(moments, range(len(self)), "mean and deviation"))}

        return cached(first.parent, f"{first.name}-sums", depends_on, compute)["sums"]


def moments_of(image: np.ndarray) -> np.ndarray:
    """float64 (2, channels): the sums of a uint8 image's pixels and of their squares."""
    pixels = image.astype(np.int64)
    return np.stack([pixels.sum((0, 1)), (pixels**2).sum((0, 1))]).astype(np.float64)


def image_files(
    paths: Sequence[Path], decoder: Decoder, folder: Path, name: str
) -> tuple[EncodedImages, np.ndarray, list[str]]:
    """Decodes every file once, and caches what is known of it then.

    Args:
      folder, name: of the cache (`cached`).

    Returns:
      The readable images, their positions in `paths`, and a line about each file that is not.

    Raises:
      UserError: the readable images differ in size, or there are none.
    """
    stats = [(str(path.relative_to(folder)), *stamp(path)) for path in paths]
    name = f"{name}-{decoder.size}-{decoder.channels}-{decoder.central_fraction:g}"

    def left_out(index) -> list:
        missing = np.setdiff1d(np.arange(len(paths)), index["readable"])
        return [_examined(paths[i], decoder) for i in missing]

    def is_valid(index) -> bool:
        # What could not be read is tried again: its time does not tell that its owner now allows it.
        return all(isinstance(line, UserError) for line in left_out(index))

    depends_on = decoder, PLACE.descr, stats
    index = cached(folder, name, depends_on, lambda: _index(paths, decoder), is_valid)
    unreadable = left_out(index)
    places = np.zeros(len(index["readable"]), PLACE)
    places["file"] = np.arange(len(places))
    for field in ("length", "orientation", "size"):
        places[field] = index[field]
    files = np.array([str(paths[i]) for i in index["readable"]], object)
    shape = tuple(map(int, index["shape"]))
    images = EncodedImages(files, places, decoder, shape, index["moments"])
    return images, index["readable"], [str(line) for line in unreadable]


def _index(paths: Sequence[Path], decoder: Decoder) -> dict[str, np.ndarray]:
    """Shapes, moments, orientations, sizes and lengths of the image files that can be read."""
    found = list(in_threads(lambda path: _examined(path, decoder), paths, "reading"))
    readable = np.array([i for i, f in enumerate(found) if not isinstance(f, UserError)], np.int64)
    if len(readable) == 0:
        raise UserError(f"none of the {len(paths)} image files can be read: {found[0]}")
    shapes, moments, orientations, sizes, lengths = zip(*(found[i] for i in readable), strict=True)
    for position, shape in zip(readable, shapes, strict=True):
        if shape != shapes[0]:
            raise UserError(
                f"images differ in size: {paths[readable[0]]} is {_size(shapes[0])}, "
                f"{paths[position]} is {_size(shape)}; config.data.resize=64, say, makes them equal"
            )
    return {
        "readable": readable,
        "shape": np.array(shapes[0]),
        "moments": np.stack(moments),
        "orientation": np.array(orientations),
        "size": np.array(sizes),
        "length": np.array(lengths),
    }


def _examined(path: Path, decoder: Decoder) -> tuple | UserError:
    """An image's shape, moments, orientation, size and length in bytes; or why it cannot be read."""
    try:
        image, header = read_with_header(decoder, path)
    except UserError as error:
        return error
    return image.shape, moments_of(image), header.orientation, header.size, path.stat().st_size


def in_threads(function: Callable[[T], U], items: Sequence[T], doing: str) -> Iterator[U]:
    """What a function makes of each item, in their order, with a progress bar on a terminal."""
    # In parts, since a million tasks in a pool's queue take two GB; as many as the threads can share.
    size = max(1, min(64, len(items) // 64))
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(items), desc=doing, leave=False, disable=None) as bar,
    ):
        for made in pool.map(lambda part: [function(item) for item in part], parts):
            bar.update(len(made))
            yield from made


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape[:2]))
