"""Groups of image files to decode: (name, bytes, the expected pixels if not Pillow's)."""

import io
import itertools
import struct

import numpy as np
import tifffile
from PIL import Image

from tests.data.sources.picture_files import (
    COLOUR_CHUNKS,
    PNG_KINDS,
    SRGB,
    chunk,
    encoded,
    exif,
    orientation_chunks,
    png,
    xmp,
)


def picture(channels=3, height=22, width=28):
    """A smooth picture whose quarters differ, (height, width, channels), for what is lossy."""
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 256, (3, 4, 4)).astype(np.uint8)
    image = Image.fromarray(corners, "RGBA").resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)[..., :channels].squeeze()


def noise(channels, depth, height=11, width=13):
    return np.random.default_rng(depth).integers(0, 2**depth, (height, width, channels))


def png_ground(kind, depth):
    """What a PNG of a kind needs before its pixels."""
    if kind != "palette":
        return b""
    return chunk(b"PLTE", noise(3, 8, 2**depth, 1).astype(np.uint8).tobytes())


def deep(kind, values):
    """The colour of 16-bit values, without alpha; Pillow has 8 of colour's bits, and cuts grey off."""
    colour = values[..., : 1 if kind.startswith("grey") else 3]
    colour = np.floor(colour * (255 / 65535) + 0.5).astype(np.uint8)
    return np.broadcast_to(colour, (*values.shape[:2], 3))


def pngs():
    kinds = [(kind, depth) for kind, (_, _, depths) in PNG_KINDS.items() for depth in depths]
    for (kind, depth), interlaced, (name, parts) in itertools.product(
        kinds, (False, True), COLOUR_CHUNKS.items()
    ):
        values = noise(PNG_KINDS[kind][1], depth)
        before = (chunk(*parts) if parts else b"") + png_ground(kind, depth)
        label = f"{kind} {depth} {name}{' interlaced' if interlaced else ''}"
        known = deep(kind, values) if depth == 16 else None
        yield label, png(kind, depth, values, before, interlaced=interlaced), known
    transparent = {"grey": ">H", "colour": ">3H", "palette": None}
    for kind, depth in kinds:
        if kind in transparent:
            values, form = noise(PNG_KINDS[kind][1], depth), transparent[kind]
            colour = struct.pack(form, *values[0, 0].tolist()) if form else b"\0\x80"
            before = png_ground(kind, depth) + chunk(b"tRNS", colour)
            known = deep(kind, values) if depth == 16 else None
            yield f"{kind} {depth} and tRNS", png(kind, depth, values, before), known


def turned_pngs():
    values = noise(3, 8)
    for orientation in range(10):  # 0 and 9 are none
        for name, part in orientation_chunks(orientation).items():
            yield f"{name} {orientation} before", png("colour", 8, values, before=part), None
            yield f"{name} {orientation} behind", png("colour", 8, values, after=part), None
    both = orientation_chunks(6)["XMP"], orientation_chunks(8)["eXIf"]
    yield "XMP before, eXIf behind", png("colour", 8, values, *both), None


def odd_metadata():
    """EXIF data that is not as it should be; `exif_transpose` fails at some of it."""
    values = noise(3, 8)
    for name, data in {
        "a fraction": exif(6, kind=5),
        "bytes": exif(6, kind=1),
        "text": exif(6, kind=2),
        "no tags": b"MM\0*\0\0\0\x08\0\0",
        "cut short": exif(6)[:15],
        "garbage": b"MM\0*" + bytes(range(60, 90)),
        "nothing": b"",
    }.items():
        yield f"PNG, {name}", png("colour", 8, values, before=chunk(b"eXIf", data)), None
        yield f"PNG, {name} behind", png("colour", 8, values, after=chunk(b"eXIf", data)), None
        jpeg = encoded(Image.fromarray(picture()), "JPEG", exif=b"Exif\0\0" + data)
        yield f"JPEG, {name}", jpeg, None


def jpegs():
    colour, grey = Image.fromarray(picture()), Image.fromarray(picture(1))
    described = {
        "plain": {},
        "ICC": {"icc_profile": SRGB},
        "EXIF": {"exif": b"Exif\0\0" + exif(1)},
        "XMP": {"xmp": xmp(1)},
    }
    for (name, settings), progressive, sampling in itertools.product(
        described.items(), (False, True), ("4:4:4", "4:2:2", "4:2:0")
    ):
        settings = {**settings, "progressive": progressive, "quality": 95}
        label = f"{name} {sampling}{' progressive' if progressive else ''}"
        yield f"colour {label}", encoded(colour, "JPEG", subsampling=sampling, **settings), None
        if sampling == "4:4:4":
            yield f"grey {label}", encoded(grey, "JPEG", **settings), None
            yield f"CMYK {label}", encoded(colour.convert("CMYK"), "JPEG", **settings), None
    yield "RGB inside", encoded(colour, "JPEG", keep_rgb=True, quality=95), None
    yield "restarts", encoded(colour, "JPEG", restart_marker_rows=1, quality=95), None
    for orientation in range(1, 9):
        for form, data in (("exif", b"Exif\0\0" + exif(orientation)), ("xmp", xmp(orientation))):
            yield f"{form} {orientation}", encoded(colour, "JPEG", quality=95, **{form: data}), None
    cmyk = encoded(colour.convert("CMYK"), "JPEG", exif=b"Exif\0\0" + exif(6))
    yield "CMYK turned", cmyk, None


def others():
    colour, alpha = Image.fromarray(picture()), Image.fromarray(picture(4), "RGBA")
    frames = {"save_all": True, "append_images": [colour.transpose(Image.Transpose.ROTATE_180)]}
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        for form in ("BMP", "GIF", "WEBP"):
            if (mode, form) not in (("1", "WEBP"), ("P", "WEBP")):
                yield f"{form} {mode}", encoded(alpha.convert(mode), form), None
    yield "WebP lossless", encoded(alpha, "WEBP", lossless=True), None
    yield "GIF with transparency", encoded(colour.convert("P"), "GIF", transparency=3), None
    for form in ("GIF", "WEBP", "TIFF", "PNG"):
        yield f"{form} of two frames", encoded(colour, form, **frames), None
    for orientation in range(1, 9):
        for form in ("WEBP", "TIFF"):
            settings = (
                {"exif": exif(orientation)} if form == "WEBP" else {"tiffinfo": {274: orientation}}
            )
            yield f"{form} turned {orientation}", encoded(colour, form, **settings), None
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"):
        for packing in (None, "tiff_lzw", "tiff_deflate", "packbits"):
            if packing is None or mode not in ("LA", "PA"):
                image = (
                    alpha.convert("RGB").convert(mode) if mode == "CMYK" else as_mode(alpha, mode)
                )
                yield f"TIFF {mode} {packing}", encoded(image, "TIFF", compression=packing), None
    yield "TIFF, JPEG inside", encoded(colour, "TIFF", compression="jpeg"), None
    for packing in (None, "zlib"):
        for order in "<>":
            values = noise(1, 16)[..., 0].astype(np.uint16)
            data = tiff(values, compression=packing, byteorder=order)
            yield f"TIFF of 16 bits {packing} {order}", data, deep("grey", values[..., None])
    data = tiff(values, photometric="miniswhite")
    yield "TIFF of 16 bits, 0 is white", data, deep("grey", 65535 - values[..., None])


def as_mode(image, mode):
    return image.convert("RGB").convert(mode) if mode in ("RGBX", "YCbCr") else image.convert(mode)


def tiff(values, **settings):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **settings)
    return file.getvalue()


def cut_short():
    colour = Image.fromarray(picture())
    whole = {form: encoded(colour, form) for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")}
    whole["progressive JPEG"] = encoded(colour, "JPEG", progressive=True)
    whole["CMYK JPEG"] = encoded(colour.convert("CMYK"), "JPEG")
    for form, data in whole.items():
        for share in (0.02, 0.3, 0.6, 0.95):
            yield f"{form}, {share:.0%} of it", data[: int(share * len(data))], None


GROUPS = {
    make.__name__: make
    for make in (pngs, turned_pngs, odd_metadata, jpegs, others, cut_short)
}  # fmt: skip
