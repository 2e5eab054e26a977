"""What an image file says of itself, without its pixels being decoded."""

import contextlib
import io
from collections.abc import Iterator
from typing import NamedTuple

# Pillow looks for formats that it has not loaded only where it may take any.
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

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MOST_PIXELS = 89_478_485  # a quarter of a GB in colour; Pillow's own limit
_ORIENTATION = 0x0112  # a tag of EXIF's
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF's


class Unsuitable(Exception):
    """A file that no uint8 image is made of; the text says why."""


@contextlib.contextmanager
def damage_is_unsuitable() -> Iterator[None]:
    """Makes Unsuitable of whatever Pillow raises at damaged files, which is of many types."""
    try:
        yield
    except (Unsuitable, OSError, MemoryError):
        raise
    except Exception as error:
        raise Unsuitable(str(error) or type(error).__name__) from error


class Header(NamedTuple):
    """What an image says of itself.

    Attributes:
      size: its pixels (rows, columns), when it is upright.
      orientation: EXIF's, 1 … 8, of the pixels as they are decoded.
      unusual: TensorFlow's decoders do not read it, or not as Pillow does; `unusual_pixels` does.
      bits: per channel.
    """

    size: tuple[int, int]
    orientation: int
    unusual: bool
    bits: int


def opened(encoded: bytes) -> Image.Image:
    """An image of one of the formats that are read, its pixels not yet decoded.

    Raises:
      Unsuitable: it is too large to be decoded, or of none of the formats.
    """
    try:
        image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise Unsuitable(str(error)) from error
    except UnidentifiedImageError as error:
        raise Unsuitable(f"it is no {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}") from error
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise Unsuitable(f"{width:,}×{height:,} pixels; more than {MOST_PIXELS:,} are not decoded")
    return image


@damage_is_unsuitable()
def read_header(encoded: bytes) -> Header:
    """The header of an image's bytes.

    Raises:
      Unsuitable, OSError: no uint8 image can be made of it.
    """
    image = opened(encoded)
    bits = _bits(image, encoded)
    usual_jpeg = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
    usual = usual_jpeg or (image.format == "PNG" and bits <= 8)
    orientation = _orientation(image, encoded)
    width, height = image.size
    size = (width, height) if orientation > 4 else (height, width)
    return Header(size, orientation, not usual, bits)


def is_white_zero(image: Image.Image) -> bool:
    """Whether 0 is white in a TIFF; Pillow turns that round for no more than 8 bits."""
    return image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0


def _bits(image: Image.Image, encoded: bytes) -> int:
    """Bits per channel."""
    if image.format == "PNG":
        return encoded[24]
    if image.format != "TIFF":
        return 8
    bits = max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
    unsigned = {1, 4}.issuperset(image.tag_v2.get(_SAMPLE_FORMAT, (1,)))  # 4: it is not said
    if bits > 16 or not unsigned:
        kind = f"{bits}-bit" if unsigned else "signed or floating-point"
        raise Unsuitable(
            f"a TIFF of {kind} numbers; put them into an .npz of floats (source='npz')"
        )
    if bits > 8 and not image.mode.startswith("I;16"):
        raise Unsuitable(f"{bits}-bit colour in a TIFF, of which Pillow reads 8; save it as PNG")
    return bits


def _orientation(image: Image.Image, encoded: bytes) -> int:
    """The orientation that `PIL.ImageOps.exif_transpose` finds; 1 where the data is damaged."""
    if image.format == "TIFF":
        return 1  # Pillow decodes it upright
    try:
        if image.format == "PNG" and _says_more_behind_its_pixels(encoded):
            exif = image.getexif()  # decodes the pixels on its way
        else:
            exif = Image.Image.getexif(image)
        value = exif.get(_ORIENTATION, 1)
    except Exception:  # of many types, whatever the damage is
        return 1
    return next((n for n in range(1, 9) if n == value), 1)  # it may be a fraction, too


def _says_more_behind_its_pixels(png: bytes) -> bool:
    """Whether there are chunks between a PNG's pixels and its end."""
    position, behind = 8, False
    while position + 8 <= len(png):
        kind = png[position + 4 : position + 8]
        if behind and kind not in (b"IDAT", b"IEND"):
            return True
        behind = behind or kind == b"IDAT"
        position += 12 + int.from_bytes(png[position : position + 4])
    return False
