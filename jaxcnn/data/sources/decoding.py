"""From the bytes of an image file to its pixels."""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxcnn.errors import UserError
from jaxcnn.tensorflow import tensorflow

EXTENSIONS = (".jpg", ".jpeg", ".png")
MOST_PIXELS = 89_478_485  # a quarter of a GB in colour; PIL's own limit


@dataclass(frozen=True)
class Decoder:
    """Makes a uint8 image of the bytes of a JPEG or PNG.

    Attributes:
      size: images become size × size pixels; 0 leaves them as they are.
      channels: 3 for colour, 1 for grey; images of the other kind are converted.
      central_fraction: the side of the square that is scaled, in shares of the image's short side.
    """

    size: int
    channels: int
    central_fraction: float = 1.0

    def __call__(self, encoded, orientation, box=None):
        """Bytes, as a tensor → a uint8 tensor (height, width, channels).

        Args:
          orientation: EXIF's, 1 … 8.
          box: int32 (top, left, rows, columns) of what is scaled, in place of the square in the
            centre.
        """
        tf = tensorflow("decoding images")
        if self.size == 0:
            return self._upright(encoded, orientation)
        if box is None:
            image = self._upright(encoded, orientation)
            image = tf.image.crop_to_bounding_box(image, *tf.unstack(self._centre(image)))
            return self._scaled(image, antialias=True)

        def only_the_box():
            return tf.io.decode_and_crop_jpeg(encoded, box, channels=self.channels)

        def box_of_the_whole():
            image = self._upright(encoded, orientation)
            return tf.image.crop_to_bounding_box(image, *tf.unstack(box))

        cropped = tf.cond(
            tf.logical_and(tf.io.is_jpeg(encoded), tf.equal(orientation, 1)),
            only_the_box,
            box_of_the_whole,
        )

        # Without antialiasing it takes a third of the time; training's crops shrink by little.
        return tf.cond(
            tf.reduce_max(box[2:]) > 2 * self.size,
            lambda: self._scaled(cropped, antialias=True),
            lambda: self._scaled(cropped, antialias=False),
        )

    def _scaled(self, image, antialias: bool):
        tf = tensorflow("decoding images")
        image = tf.image.resize(image, (self.size, self.size), antialias=antialias)
        return tf.cast(tf.round(image), tf.uint8)

    def _centre(self, image):
        tf = tensorflow("decoding images")
        height, width, _ = tf.unstack(tf.shape(image))
        short = tf.cast(tf.minimum(height, width), tf.float32)
        side = tf.maximum(1, tf.cast(tf.round(self.central_fraction * short), tf.int32))
        return tf.stack([(height - side) // 2, (width - side) // 2, side, side])

    def _upright(self, encoded, orientation):
        tf = tensorflow("decoding images")
        image = tf.io.decode_image(encoded, channels=self.channels, expand_animations=False)
        turned = [  # EXIF 2.3, tag 274: what row 0 and column 0 show
            lambda: image,
            lambda: image[:, ::-1],
            lambda: image[::-1, ::-1],
            lambda: image[::-1],
            lambda: tf.transpose(image, (1, 0, 2)),
            lambda: tf.transpose(image, (1, 0, 2))[:, ::-1],
            lambda: tf.transpose(image, (1, 0, 2))[::-1, ::-1],
            lambda: tf.transpose(image, (1, 0, 2))[::-1],
        ]
        return tf.switch_case(tf.cast(orientation, tf.int32) - 1, turned)


def read_image(decoder: Decoder, path: str | Path) -> np.ndarray:
    """The decoded image of a file, uint8 (height, width, channels), as its EXIF data turns it.

    Raises:
      UserError: the file is missing, is no image that can be read, or is too large an image.
    """
    return read_with_header(decoder, path)[0]


class Header(NamedTuple):
    """What an image says of itself: its pixels (rows, columns), turned as EXIF's orientation says."""

    size: tuple[int, int]
    orientation: int


def read_header(encoded: bytes) -> Header:
    """The header of an image's bytes.

    Raises:
      Image.DecompressionBombError: the image is too large to be decoded.
      OSError, ValueError, SyntaxError: PIL cannot read it.
    """
    image = Image.open(io.BytesIO(encoded))
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise Image.DecompressionBombError(
            f"{width:,}×{height:,} pixels; more than {MOST_PIXELS:,} are not decoded"
        )
    # For EXIF data behind a PNG's pixels PIL would decode them.
    has_exif = image.format != "PNG" or "exif" in image.info
    orientation = image.getexif().get(0x0112, 1) if has_exif else 1
    orientation = orientation if orientation in range(1, 9) else 1
    return Header((width, height) if orientation > 4 else (height, width), orientation)


def read_with_header(decoder: Decoder, path: str | Path) -> tuple[np.ndarray, Header]:
    """A file's image, and its header."""
    tf = tensorflow(f"reading {path}")
    try:
        encoded = Path(path).read_bytes()
        if not encoded:
            raise UserError(f"cannot read the image {path}: the file is empty")
        try:
            header = read_header(encoded)
        except (OSError, ValueError, SyntaxError) as error:
            decoder(tf.constant(encoded), 1)  # what is wrong with it, decoding says better
            raise UserError(f"cannot read the image {path}: {reason(error)}") from error
        return decoder(tf.constant(encoded), header.orientation).numpy(), header
    except (tf.errors.OpError, OSError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read the image {path}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """The first sentence of an error, without the TensorFlow operation that it happened in."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(getattr(error, "message", error)).split("[Op:")[0].split("\n")[0]
    return re.sub(r"\{\{.*?\}\}", "", text).strip().rstrip(".")
