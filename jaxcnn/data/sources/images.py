"""Encoded images that stay on disk, in single files or in shards, and are decoded when needed."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import IO, TypeVar

import numpy as np
from tqdm import tqdm

from jaxcnn.data.sources.decoding import Decoder, reason
from jaxcnn.data.sources.headers import Unsuitable
from jaxcnn.data.sources.pixels import IN_FLIGHT
from jaxcnn.errors import UserError
from jaxcnn.tensorflow import tensorflow

T = TypeVar("T")
U = TypeVar("U")

# An image's location in bytes, its EXIF orientation (1: upright), and its (height, width) when upright.
PLACE = np.dtype(
    [("file", "i4"), ("offset", "i8"), ("length", "i8"), ("orientation", "i1"), ("size", "i4", 2)]
)


@dataclass(frozen=True)
class EncodedImages:
    """Images that stay on disk and are decoded when needed.

    Attributes:
      files: object (files,), paths as text.
      places: PLACE (n,), the location of each image.
      decoder: decodes them to uint8 images of `shape` (height, width, channels).
      moments: float64 (n, 2, channels), the sums of each image's pixels and of their squares; None if
        not measured for each image.
      unusual: bool (n,), `Header.unusual`; None if all are usual.
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

    def is_unusual(self) -> np.ndarray:
        """bool (n,), `Header.unusual` of each image."""
        return np.zeros(len(self), bool) if self.unusual is None else self.unusual

    def name(self, position: int) -> str:
        """An image's name in messages: its file, and its first byte if that is not 0."""
        place = self.places[position]
        file = str(self.files[place["file"]])
        return file if place["offset"] == 0 else f"{file}, byte {place['offset']}"

    def read(self, positions: np.ndarray) -> np.ndarray:
        """The encoded images: object (positions,) of bytes.

        Raises:
          OSError: a file cannot be read.
        """
        encoded = np.empty(len(positions), object)
        for i, place in enumerate(self.places[positions]):
            with open(str(self.files[place["file"]]), "rb", buffering=0) as file:
                file.seek(place["offset"])
                encoded[i] = file.read(place["length"])
        return encoded

    def decoded(
        self, position: int, box: np.ndarray | None = None, by_pillow: bool = False
    ) -> np.ndarray:
        """Decodes an image to uint8, of `shape`.

        Args:
          box: the part to show (`Decoder`).
          by_pillow: decodes it as if it were `unusual`.

        Raises:
          UserError: the image cannot be read or decoded.
        """
        tf = tensorflow("decoding images")
        try:
            (encoded,) = self.read(np.array([position]))
            orientation = self.places["orientation"][position]
            unusual = by_pillow or (self.unusual is not None and self.unusual[position])
            height, width = self.places["size"][position].tolist()
            with IN_FLIGHT.holding(max(height * width, self.decoder.size**2)):
                return self.decoder(encoded, orientation, box, unusual).numpy()
        except (tf.errors.OpError, OSError, Unsuitable) as error:
            raise UserError(
                f"cannot read the image {self.name(position)}: {reason(error)}"
            ) from error


def moments_of(image: np.ndarray) -> np.ndarray:
    """The sums of a uint8 image's pixels and of their squares: float64 (2, channels)."""
    squares = np.square(image, dtype=np.uint16)  # of up to 255²
    sums = [array.sum((0, 1), dtype=np.int64) for array in (image, squares)]
    return np.stack(sums).astype(np.float64)


def in_threads(
    function: Callable[[T], U], items: Sequence[T], doing: str, terminal: IO[str] | None = None
) -> Iterator[U]:
    """Applies a function to the items in threads; yields the results in order.

    Args:
      doing: label of the progress bar.
      terminal: where the bar is drawn, if it is a terminal; None: stderr.
    """
    # Submit chunks: a million tasks in a pool's queue take 2 GB. Keep enough chunks for all threads.
    size = max(1, min(64, len(items) // 64))
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(items), desc=doing, leave=False, disable=None, file=terminal) as bar,
    ):
        for made in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
            bar.update(len(made))
            yield from made
