"""Image files: found, decoded, checked."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcnn.data.tensorflow import tensorflow
from jaxcnn.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class ImageFiles:
    """Images that stay on disk and are decoded when they are needed.

    `decoder` makes a uint8 image of a file; `sums` and `squares` hold, per image and channel, the
    sum of its pixels and of their squares, from the pass that checked that all can be read.
    """

    paths: np.ndarray
    decoder: "Decoder"
    shape: tuple[int, int, int]
    sums: np.ndarray
    squares: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index) -> "ImageFiles":
        return ImageFiles(
            self.paths[index], self.decoder, self.shape, self.sums[index], self.squares[index]
        )


@dataclass(frozen=True)
class Decoder:
    """Reads a JPEG or PNG file as `channels` channels.

    With `size` > 0, the largest square in its centre, scaled to size × size pixels.
    """

    size: int
    channels: int

    def __call__(self, path):
        """A path, as text or as a tensor → a uint8 tensor (height, width, channels)."""
        tf = tensorflow(f"reading {path}")
        image = tf.io.decode_image(
            tf.io.read_file(path), channels=self.channels, expand_animations=False
        )
        return self.fitted(image)

    def fitted(self, image):
        """The centre square of a uint8 image tensor, scaled to `size`."""
        if self.size == 0:
            return image
        tf = tensorflow("scaling images")
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        side = tf.minimum(height, width)
        image = tf.image.crop_to_bounding_box(
            image, (height - side) // 2, (width - side) // 2, side, side
        )
        image = tf.image.resize(image, (self.size, self.size), antialias=True)
        return tf.cast(tf.round(image), tf.uint8)


def read_image(decoder: Decoder, path: str | Path) -> np.ndarray:
    """The decoded image, uint8 (height, width, channels).

    Raises:
      UserError: the file is missing or no image that can be read.
    """
    tf = tensorflow(f"reading {path}")
    try:
        return decoder(str(path)).numpy()
    except tf.errors.OpError as error:
        raise UserError(f"cannot read the image {path}: {_reason(error)}") from error


def check_image_files(
    paths: Sequence[Path], decoder: Decoder, on_error: str
) -> tuple[ImageFiles, np.ndarray, list[str]]:
    """Decodes every file once.

    Args:
      on_error: 'stop' at the first file that cannot be read, or 'skip' it.

    Returns:
      The readable files, their positions in `paths`, and a line about each file that was skipped.

    Raises:
      UserError: a file cannot be read and `on_error` is 'stop', or the images differ in size.
    """

    def measure(path):
        try:
            image = read_image(decoder, path).astype(np.int64)
        except UserError as error:
            return error
        return image.shape, image.sum((0, 1)), (image**2).sum((0, 1))

    with ThreadPoolExecutor() as pool:
        measured = list(pool.map(measure, paths))
    unreadable = [m for m in measured if isinstance(m, UserError)]
    if unreadable and on_error == "stop":
        more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
        raise UserError(
            f"{unreadable[0]}{more}; "
            "remove it, or leave out such files with --config.data.on_error=skip"
        )
    readable = np.array(
        [i for i, m in enumerate(measured) if not isinstance(m, UserError)], np.int64
    )
    if len(readable) == 0:
        raise UserError(f"none of the {len(paths)} image files can be read: {unreadable[0]}")
    shapes, sums, squares = zip(*(measured[i] for i in readable), strict=True)
    for position, shape in zip(readable, shapes, strict=True):
        if shape != shapes[0]:
            raise UserError(
                f"images differ in size: {paths[readable[0]]} is {_size(shapes[0])}, "
                f"{paths[position]} is {_size(shape)}; --config.data.resize=64, say, makes them equal"
            )
    names = np.array([str(paths[i]) for i in readable])
    files = ImageFiles(names, decoder, shapes[0], np.array(sums), np.array(squares))
    return files, readable, [str(error) for error in unreadable]


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape[:2]))


def _reason(error: Exception) -> str:
    """The first sentence of a TensorFlow error, without the operation it happened in."""
    return error.message.split("[Op:")[0].split("\n")[0].strip().rstrip(".")
