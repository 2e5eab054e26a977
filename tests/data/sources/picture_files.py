"""Image files of every kind, made byte by byte where no library writes them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# A PNG's chunks that say how colours are meant, and that change no pixel here.
COLOUR_CHUNKS = {
    "plain": b"",
    "sRGB": (b"sRGB", b"\0"),
    "gAMA": (b"gAMA", struct.pack(">I", 45_455)),
    "gAMA of 1": (b"gAMA", struct.pack(">I", 100_000)),
    "cHRM": (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
    "iCCP": (b"iCCP", b"sRGB\0\0" + zlib.compress(SRGB)),
}
# PNG's colour types and the depths that each may have.
PNG_KINDS = {
    "grey": (0, 1, (1, 2, 4, 8, 16)),
    "colour": (2, 3, (8, 16)),
    "palette": (3, 1, (1, 2, 4, 8)),
    "grey and alpha": (4, 2, (8, 16)),
    "colour and alpha": (6, 4, (8, 16)),
}
ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG's chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    kind: str,
    depth: int,
    values: np.ndarray,
    before: bytes = b"",
    after: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """A PNG of values (height, width, channels) below 2**depth; `before` and `after` the pixels."""
    number, _, _ = PNG_KINDS[kind]
    height, width, _ = values.shape
    steps = ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [values[top::down, left::across] for top, left, down, across in steps]
    pixels = b"".join(_packed(part, depth) for part in parts if part.size)
    header = struct.pack(">IIBBBBB", width, height, depth, number, 0, 0, interlaced)
    return b"".join((
        b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), before,
        chunk(b"IDAT", zlib.compress(pixels)), after, chunk(b"IEND", b""),
    ))  # fmt: skip


def _packed(values: np.ndarray, depth: int) -> bytes:
    """A PNG's rows, each after the number of its filter: none."""
    rows = values.reshape(len(values), -1)
    if depth == 16:
        packed = rows.astype(">u2").view(np.uint8)
    else:
        bits = np.unpackbits(rows.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        packed = np.packbits(bits.reshape(len(rows), -1), axis=1)
    return np.insert(packed, 0, 0, axis=1).tobytes()


def exif(orientation: int, kind: int = 3) -> bytes:
    """EXIF data with an orientation, of TIFF's type SHORT, or another."""
    value = struct.pack(">HH", orientation, 0)
    entry, behind = struct.pack(">HHI", 0x0112, kind, 1) + value, b""
    if kind == 5:  # RATIONAL
        entry = struct.pack(">HHII", 0x0112, kind, 1, 26)
        behind = struct.pack(">II", orientation, 1)
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", 1) + entry + b"\0\0\0\0" + behind


def xmp(orientation: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description '
        b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></x:xmpmeta>'
    ) % orientation


def raw_profile(orientation: int) -> bytes:
    """EXIF data as ImageMagick writes it into a PNG."""
    data = b"Exif\0\0" + exif(orientation)
    text = f"\nexif\n{len(data):8}\n{data.hex()}\n".encode()
    return b"Raw profile type exif\0\0" + zlib.compress(text)


def orientation_chunks(orientation: int) -> dict[str, bytes]:
    """What may tell a PNG's orientation."""
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(orientation)
    return {
        "eXIf": chunk(b"eXIf", exif(orientation)),
        "XMP": chunk(b"iTXt", text),
        "raw profile": chunk(b"zTXt", raw_profile(orientation)),
    }


def encoded(image: Image.Image, form: str, **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()
