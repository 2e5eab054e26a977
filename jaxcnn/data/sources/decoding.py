"""Decodes image files to pixels."""

import functools
import logging
import math
import os
import re
import stat
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxcnn.data.sources.complaints import Complaints, captured
from jaxcnn.data.sources.headers import (
    Header,
    Unsuitable,
    damage_is_unsuitable,
    is_white_zero,
    opened,
    read_header,
    without_ancillary_chunks,
)
from jaxcnn.data.sources.pixels import IN_FLIGHT, MOST_PIXELS
from jaxcnn.errors import UserError
from jaxcnn.tensorflow import may_fail, tensorflow

# Pillow warns about damaged metadata each time it opens a file; `captured` logs it once, by name.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Of the largest files that are read: twice what colour and alpha of 16 bits take uncompressed.
_BYTES_PER_PIXEL = 16


@dataclass(frozen=True)
class Decoder:
    """Decodes the bytes of an image file to uint8; only the first of several frames.

    Alpha is dropped, as in Pillow's `convert("RGB")`: transparent pixels show their stored colour. Grey
    is 0.299 R + 0.587 G + 0.114 B, rounded. Values of more than 8 bits become value · 255 / white,
    rounded.

    Attributes:
      size: output images have size × size pixels; 0 keeps the original size.
      channels: 3 for colour, 1 for grey; other images are converted.
      central_fraction: side of the central square that is scaled, as a share of the short side.
      white: the value that becomes 255 in images of more than 8 bits; 0: the format's maximum.
      most_pixels: an image of more is not decoded. No cache depends on it, so `repr` leaves it out.
    """

    size: int
    channels: int
    central_fraction: float = 1.0
    white: int = 0
    most_pixels: int = field(default=MOST_PIXELS, repr=False)

    def __call__(self, encoded, orientation, box=None, unusual=False):
        """Decodes a string tensor to a uint8 tensor (height, width, channels).

        Args:
          orientation: EXIF orientation, 1 … 8.
          box: int32 (top, left, rows, columns), the part to scale instead of the central square.
          unusual: bool, `Header.unusual`.

        Raises:
          tf.errors.OpError, Unsuitable, OSError: the image cannot be decoded. In a graph, all of these
            are OpErrors.
        """
        tf = tensorflow("decoding images")
        if self.size == 0:
            return self._in_channels(self._upright(encoded, orientation, unusual))
        if box is None:
            image = self._upright(encoded, orientation, unusual)
            image = tf.image.crop_to_bounding_box(image, *tf.unstack(self._centre(image)))
            return self._scaled(image, antialias=True)

        def only_the_box():
            return _box_of_jpeg(encoded, box)

        def box_of_the_whole():
            image = self._upright(encoded, orientation, unusual)
            return tf.image.crop_to_bounding_box(image, *tf.unstack(box))

        usual_jpeg = tf.logical_and(tf.io.is_jpeg(encoded), tf.logical_not(unusual))
        upright_jpeg = tf.logical_and(usual_jpeg, tf.equal(orientation, 1))
        cropped = tf.cond(upright_jpeg, only_the_box, box_of_the_whole)

        # Scaling without antialiasing takes a third of the time, and training crops shrink little.
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
        """Converts RGB to the decoder's channels; TensorFlow's own grey depends on the format."""
        if self.channels == 3:
            return image
        tf = tensorflow("decoding images")
        weighted = tf.cast(image, tf.int32) * [299, 587, 114]
        grey = (tf.reduce_sum(weighted, axis=-1, keepdims=True) + 500) // 1000
        return tf.cast(grey, tf.uint8)

    def _upright(self, encoded, orientation, unusual):
        tf = tensorflow("decoding images")

        pixels = functools.partial(unusual_pixels, white=self.white, most_pixels=self.most_pixels)

        def by_tensorflow():
            return _usual_pixels(encoded)

        def by_hand():
            if tf.executing_eagerly():
                return tf.constant(pixels(tf.convert_to_tensor(encoded).numpy()))
            image = tf.numpy_function(pixels, [encoded], tf.uint8, stateful=False)
            return tf.ensure_shape(image, (None, None, 3))

        image = tf.cond(tf.cast(unusual, tf.bool), by_hand, by_tensorflow)
        turned = [  # EXIF 2.3, tag 274, orientations 1 … 8
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


@may_fail(((), "string"))
def _usual_pixels(encoded):
    io = tensorflow("decoding images").io
    return io.decode_image(encoded, channels=3, expand_animations=False)


@may_fail(((), "string"), ((4,), "int32"))
def _box_of_jpeg(encoded, box):
    return tensorflow("decoding images").io.decode_and_crop_jpeg(encoded, box, channels=3)


@may_fail(((), "string"))
def _deep_png(encoded):
    return tensorflow("decoding images").io.decode_png(encoded, 3, "uint16")


@damage_is_unsuitable()
def unusual_pixels(encoded: bytes, white: int = 0, most_pixels: int = MOST_PIXELS) -> np.ndarray:
    """Decodes with Pillow, to uint8 (height, width, 3).

    Args:
      white, most_pixels: as in `Decoder`.

    Raises:
      Unsuitable, OSError: the image cannot be decoded.
    """
    bits = read_header(encoded, most_pixels).bits
    if bits > 8:
        white = white or 2**bits - 1
        scaled = (deep_values(encoded, most_pixels).astype(np.uint32) * 510 + white) // (2 * white)
        return np.minimum(scaled, 255).astype(np.uint8)
    image = opened(encoded, most_pixels)
    image.load()
    image.info.pop("transparency", None)  # `convert` would warn about it
    return np.asarray(image.convert("RGB"))


def deep_values(encoded: bytes, most_pixels: int = MOST_PIXELS) -> np.ndarray:
    """The stored values of an image of more than 8 bits per channel: uint16 (height, width, 3)."""
    image = opened(encoded, most_pixels)
    if image.format == "PNG":  # Pillow reads only 8 bits of colour
        png = without_ancillary_chunks(encoded)  # TensorFlow prints a warning about odd ones
        return _deep_png(png).numpy()
    values = np.asarray(image).astype(np.uint16)
    values = np.uint16(65535) - values if is_white_zero(image) else values
    return np.repeat(values[..., None], 3, axis=-1)


def read_image(decoder: Decoder, path: str | Path) -> np.ndarray:
    """Decodes a file to uint8 (height, width, channels), upright.

    Logs a warning if the file is damaged but can be decoded.

    Raises:
      UserError: the file is missing, is not a readable image, or is too large.
    """
    with captured() as complaints:
        image, header, said = read_listening(decoder, path, complaints)
    if header.bits > 8:
        white = decoder.white or 2**header.bits - 1
        largest = deep_values(Path(path).read_bytes(), decoder.most_pixels).max()
        said.append(
            f"{header.bits} bits per channel are reduced to 8 ({white} becomes 255; largest value: "
            f"{largest})"
        )
    if said:
        logging.getLogger(__name__).warning("%s: %s", path, "; ".join(said))
    return image


def read_listening(
    decoder: Decoder, path: str | Path, complaints: Complaints
) -> tuple[np.ndarray, Header, list[str]]:
    """A file's image, its header, and the complaints about it (`Complaints.of`)."""
    (image, header), said = complaints.of(
        lambda by_pillow: read_with_header(decoder, path, by_pillow)
    )
    return image, header, said


def read_with_header(
    decoder: Decoder, path: str | Path, by_pillow: bool = False
) -> tuple[np.ndarray, Header]:
    """A file's image and header; `by_pillow` makes any image `unusual`.

    Raises:
      UserError: the file is missing, is not a readable image, or is too large.
    """
    tf = tensorflow(f"reading {path}")
    try:
        encoded = _content(path, decoder.most_pixels)
        header = read_header(encoded, decoder.most_pixels)
        header = header._replace(unusual=header.unusual or by_pillow)
        with IN_FLIGHT.holding(max(math.prod(header.size), decoder.size**2)):
            image = decoder(tf.constant(encoded), header.orientation, unusual=header.unusual)
            return image.numpy(), header
    except (tf.errors.OpError, OSError, Unsuitable) as error:
        raise UserError(f"cannot read the image {path}: {reason(error)}") from error


def _content(path: str | Path, most_pixels: int) -> bytes:
    """The bytes of an image file."""
    about = os.stat(path)
    if not stat.S_ISREG(about.st_mode):
        raise Unsuitable("it is not a regular file")  # to open a named pipe would block
    if not about.st_size:
        raise Unsuitable("the file is empty")
    if about.st_size > _BYTES_PER_PIXEL * most_pixels:
        raise Unsuitable(
            f"{about.st_size:,} bytes are too many for the {most_pixels:,} pixels of "
            f"config.data.max_image_pixels={most_pixels}"
        )
    return Path(path).read_bytes()


def reason(error: Exception) -> str:
    """The first sentence of an error message, without the name of the TensorFlow operation."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(getattr(error, "message", error)).split("[Op:")[0].split("\n")[0]
    return re.sub(r"\{\{.*?\}\}|\w+Error: |Unsuitable: ", "", text).strip().rstrip(".")
