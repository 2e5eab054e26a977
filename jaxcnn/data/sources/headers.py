"""Reads image headers without decoding the pixels."""

import contextlib
import io
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

# Pillow finds only formats whose plugins are loaded when it is given a list of formats.
from PIL import (  # noqa: F401
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from jaxcnn.data.sources.pixels import MOST_PIXELS

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_ORIENTATION = 0x0112  # EXIF tag
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_TILE = 322, 323  # TIFF tags: width and height


class Unsuitable(Exception):
    """A file that cannot become a uint8 image; the text says why."""


class TooLarge(Unsuitable):
    """An image of too many pixels."""


@contextlib.contextmanager
def damage_is_unsuitable() -> Iterator[None]:
    """Turns the many types of exception that Pillow raises for damaged files into Unsuitable."""
    try:
        yield
    except (Unsuitable, OSError, MemoryError):
        raise
    except Exception as error:
        raise Unsuitable(str(error) or type(error).__name__) from error


class Header(NamedTuple):
    """An image's properties.

    Attributes:
      size: (rows, columns) in pixels of the upright image.
      orientation: EXIF orientation of the decoded pixels, 1 … 8.
      unusual: whether `unusual_pixels` decodes it, because TensorFlow cannot or gives other pixels.
      bits: bits per channel.
    """

    size: tuple[int, int]
    orientation: int
    unusual: bool
    bits: int


def opened(encoded: bytes, most_pixels: int = MOST_PIXELS) -> Image.Image:
    """Opens an image without decoding its pixels.

    Raises:
      Unsuitable: it is too large (`TooLarge`), or not in a supported format.
    """
    try:
        image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(re.search(r"\d+", str(error))[0], most_pixels) from error
    except UnidentifiedImageError as error:
        raise Unsuitable(f"it is not a {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}") from error
    width, height = image.size
    if image.format == "TIFF":  # a tile is decoded whole, even one larger than the image
        tile = (image.tag_v2.get(tag, 1) for tag in _TILE)
        width, height = map(max, (width, height), tile)
    if width * height > most_pixels:
        raise _too_large(f"{width:,}×{height:,}", most_pixels)
    return image


def _too_large(pixels: str, most_pixels: int) -> TooLarge:
    return TooLarge(f"{pixels} pixels are more than config.data.max_image_pixels={most_pixels}")


@damage_is_unsuitable()
def read_header(encoded: bytes, most_pixels: int = MOST_PIXELS) -> Header:
    """Reads the header of an encoded image.

    Raises:
      Unsuitable, OSError: it cannot become a uint8 image, or has more than `most_pixels` pixels.
    """
    image = opened(encoded, most_pixels)
    bits = _bits(image, encoded)
    usual_jpeg = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
    usual = usual_jpeg or (image.format == "PNG" and bits <= 8)
    width, height = image.size
    if image.format == "TIFF":  # Pillow turns the pixels, and the size if a tag says so, not XMP
        turns_later = _ORIENTATION not in image.tag_v2 and _orientation(image, encoded) > 4
        return Header((width, height) if turns_later else (height, width), 1, True, bits)
    orientation = _orientation(image, encoded)
    size = (width, height) if orientation > 4 else (height, width)
    return Header(size, orientation, not usual, bits)


def is_white_zero(image: Image.Image) -> bool:
    """Whether 0 is white in a TIFF. Pillow inverts such images only up to 8 bits."""
    return image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0


def _bits(image: Image.Image, encoded: bytes) -> int:
    """Bits per channel."""
    if image.format == "PNG":
        return encoded[24]
    if image.format != "TIFF":
        return 8
    bits = max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
    unsigned = {1, 4}.issuperset(image.tag_v2.get(_SAMPLE_FORMAT, (1,)))  # 4: undefined
    if bits > 16 or not unsigned:
        kind = f"{bits}-bit" if unsigned else "signed or floating-point"
        raise Unsuitable(
            f"a TIFF of {kind} numbers; save them as floats in an .npz file (source='npz')"
        )
    if bits > 8 and not image.mode.startswith("I;16"):
        raise Unsuitable(
            f"{bits}-bit colour in a TIFF, but Pillow reads only 8 bits; save it as PNG"
        )
    return bits


def _orientation(image: Image.Image, encoded: bytes) -> int:
    """The orientation that `PIL.ImageOps.exif_transpose` finds; 1 if the metadata is damaged."""
    try:
        if image.format == "PNG" and _has_chunks_after_pixels(encoded):
            exif = image.getexif()  # decodes the pixels first
        else:
            exif = Image.Image.getexif(image)
        value = exif.get(_ORIENTATION, 1)
    except Exception:  # of many types, depending on the damage
        return 1
    return next((n for n in range(1, 9) if n == value), 1)  # it can be a fraction


def without_ancillary_chunks(png: bytes) -> bytes:
    """A PNG with only the chunks that its pixels depend on; their names begin with a capital."""
    return png[:8] + b"".join(data for kind, data in _chunks(png) if kind[:1].isupper())


def _has_chunks_after_pixels(png: bytes) -> bool:
    kinds = (kind for kind, _ in _chunks(png))
    from_pixels = itertools.dropwhile(lambda kind: kind != b"IDAT", kinds)
    return any(kind not in (b"IDAT", b"IEND") for kind in from_pixels)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG: their kind, and all of their bytes."""
    position = 8
    while position + 8 <= len(png):
        end = position + 12 + int.from_bytes(png[position : position + 4])
        yield png[position + 4 : position + 8], png[position:end]
        position = end
