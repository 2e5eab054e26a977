"""From the bytes of an image file to its pixels."""

import functools
import logging
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcnn.data.sources.complaints import Complaints, held_back
from jaxcnn.data.sources.headers import (
    Header,
    Unsuitable,
    damage_is_unsuitable,
    is_white_zero,
    opened,
    read_header,
)
from jaxcnn.errors import UserError
from jaxcnn.tensorflow import tensorflow

# Pillow warns of damaged metadata whenever it opens a file; what it says is told once, by name.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class Decoder:
    """Makes a uint8 image of the bytes of an image file; of several frames, of the first.

    Alpha is dropped, as `convert("RGB")` of Pillow drops it: what is transparent shows the colour
    that is stored there. Grey is 0.299 R + 0.587 G + 0.114 B, rounded. Of more than 8 bits per channel
    it is value · 255 / white, rounded.

    Attributes:
      size: images become size × size pixels; 0 leaves them as they are.
      channels: 3 for colour, 1 for grey; images of the other kind are converted.
      central_fraction: the side of the square that is scaled, in shares of the image's short side.
      white: of images of more than 8 bits, the value that becomes 255; 0: the format's largest.
    """

    size: int
    channels: int
    central_fraction: float = 1.0
    white: int = 0

    def __call__(self, encoded, orientation, box=None, unusual=False):
        """Bytes, as a tensor → a uint8 tensor (height, width, channels).

        Args:
          orientation: EXIF's, 1 … 8.
          box: int32 (top, left, rows, columns) of what is scaled, in place of the square in the
            centre.
          unusual: `Header.unusual`, a bool.
        """
        tf = tensorflow("decoding images")
        if self.size == 0:
            return self._in_channels(self._upright(encoded, orientation, unusual))
        if box is None:
            image = self._upright(encoded, orientation, unusual)
            image = tf.image.crop_to_bounding_box(image, *tf.unstack(self._centre(image)))
            return self._scaled(image, antialias=True)

        def only_the_box():
            return tf.io.decode_and_crop_jpeg(encoded, box, channels=3)

        def box_of_the_whole():
            image = self._upright(encoded, orientation, unusual)
            return tf.image.crop_to_bounding_box(image, *tf.unstack(box))

        usual_jpeg = tf.logical_and(tf.io.is_jpeg(encoded), tf.logical_not(unusual))
        upright_jpeg = tf.logical_and(usual_jpeg, tf.equal(orientation, 1))
        cropped = tf.cond(upright_jpeg, only_the_box, box_of_the_whole)

        # Without antialiasing it takes a third of the time; training's crops shrink by little.
        return tf.cond(
            tf.reduce_max(box[2:]) > 2 * self.size,
            lambda: self._scaled(cropped, antialias=True),
            lambda: self._scaled(cropped, antialias=False),
        )

    def _scaled(self, image, antialias: bool):
        tf = tensorflow("decoding images")
        image = tf.image.resize(image, (self.size, self.size), antialias=antialias)
        return self._in_channels(tf.cast(tf.round(image), tf.uint8))

    def _centre(self, image):
        tf = tensorflow("decoding images")
        height, width, _ = tf.unstack(tf.shape(image))
        short = tf.cast(tf.minimum(height, width), tf.float32)
        side = tf.maximum(1, tf.cast(tf.round(self.central_fraction * short), tf.int32))
        return tf.stack([(height - side) // 2, (width - side) // 2, side, side])

    def _in_channels(self, image):
        """Grey or colour of colour: a decoder's own grey depends on the format and its metadata."""
        if self.channels == 3:
            return image
        tf = tensorflow("decoding images")
        weighted = tf.cast(image, tf.int32) * [299, 587, 114]
        grey = (tf.reduce_sum(weighted, axis=-1, keepdims=True) + 500) // 1000
        return tf.cast(grey, tf.uint8)

    def _upright(self, encoded, orientation, unusual):
        tf = tensorflow("decoding images")

        def by_tensorflow():
            return tf.io.decode_image(encoded, channels=3, expand_animations=False)

        def by_hand():
            if tf.executing_eagerly():
                pixels = unusual_pixels(tf.convert_to_tensor(encoded).numpy(), self.white)
                return tf.constant(pixels)
            pixels = functools.partial(unusual_pixels, white=self.white)
            image = tf.numpy_function(pixels, [encoded], tf.uint8, stateful=False)
            return tf.ensure_shape(image, (None, None, 3))

        image = tf.cond(tf.cast(unusual, tf.bool), by_hand, by_tensorflow)
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


@damage_is_unsuitable()
def unusual_pixels(encoded: bytes, white: int = 0) -> np.ndarray:
    """uint8 (height, width, 3) of an image that TensorFlow would not read as Pillow does.

    Raises:
      Unsuitable, OSError: it cannot be decoded.
    """
    bits = read_header(encoded).bits
    if bits > 8:
        white = white or 2**bits - 1
        scaled = (deep_values(encoded).astype(np.uint32) * 510 + white) // (2 * white)
        return np.minimum(scaled, 255).astype(np.uint8)
    image = opened(encoded)
    image.load()
    image.info.pop("transparency", None)  # to convert it, too, only brings warnings
    return np.asarray(image.convert("RGB"))


def deep_values(encoded: bytes) -> np.ndarray:
    """uint16 (height, width, 3), the values as stored of an image of more than 8 bits."""
    image = opened(encoded)
    if image.format == "PNG":  # of whose colours Pillow reads 8 bits
        return tensorflow("decoding images").io.decode_png(encoded, 3, "uint16").numpy()
    values = np.asarray(image).astype(np.uint16)
    values = np.uint16(65535) - values if is_white_zero(image) else values
    return np.repeat(values[..., None], 3, axis=-1)


def read_image(decoder: Decoder, path: str | Path) -> np.ndarray:
    """The decoded image of a file, uint8 (height, width, channels), as its EXIF data turns it.

    What is damaged in it, but lets it be decoded, is logged.

    Raises:
      UserError: the file is missing, is no image that can be read, or is too large an image.
    """
    with held_back() as complaints:
        image, _, said = read_listening(decoder, path, complaints)
    if said:
        logging.getLogger(__name__).warning("%s: %s", path, "; ".join(said))
    return image


def read_listening(
    decoder: Decoder, path: str | Path, complaints: Complaints
) -> tuple[np.ndarray, Header, list[str]]:
    """A file's image, its header, and what was complained of; nothing else decodes meanwhile.

    What TensorFlow's decoders complain of is left to Pillow's, which are silent but for libtiff.
    """
    tensorflow(f"reading {path}").constant(0)  # what it says at its start is about no file
    complaints.listen()
    try:
        image, header = read_with_header(decoder, path)
        written, warned = complaints.take()
        if written and not header.unusual:
            image, header = read_with_header(decoder, path, unusual=True)
    finally:
        complaints.take()  # an error says what they would
    return image, header, [*written, *warned]


def read_with_header(
    decoder: Decoder, path: str | Path, unusual: bool = False
) -> tuple[np.ndarray, Header]:
    """A file's image, and its header; `unusual`, whatever the header says."""
    tf = tensorflow(f"reading {path}")
    try:
        encoded = Path(path).read_bytes()
        if not encoded:
            raise UserError(f"cannot read the image {path}: the file is empty")
        header = read_header(encoded)
        header = header._replace(unusual=header.unusual or unusual)
        image = decoder(tf.constant(encoded), header.orientation, unusual=header.unusual)
        return image.numpy(), header
    except (tf.errors.OpError, OSError, Unsuitable) as error:
        raise UserError(f"cannot read the image {path}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """The first sentence of an error, without the TensorFlow operation that it happened in."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(getattr(error, "message", error)).split("[Op:")[0].split("\n")[0]
    return re.sub(r"\{\{.*?\}\}|\w+Error: |Unsuitable: ", "", text).strip().rstrip(".")
