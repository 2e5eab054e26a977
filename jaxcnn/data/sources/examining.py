"""Decodes every image once: measures it, and finds those that cannot be read or are damaged."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from jaxcnn.data.sources.cache import cached, stamp
from jaxcnn.data.sources.complaints import Complaints, captured
from jaxcnn.data.sources.decoding import Decoder, deep_values, read_listening, read_with_header
from jaxcnn.data.sources.headers import EXTENSIONS
from jaxcnn.data.sources.images import PLACE, EncodedImages, in_threads, moments_of
from jaxcnn.errors import UserError

T = TypeVar("T")
U = TypeVar("U")

_NAMED = 5  # damaged images in a remark


class Found(NamedTuple):
    """The readable image files of a split, and remarks about some of the files.

    Attributes:
      readable: int64 (n,), positions in the list of paths.
      unreadable: a message for each file that cannot be read.
      damaged: a message for each image that is damaged but was decoded.
      bits: int64 (n,), bits per channel.
      largest: int64 (n,), the largest value in images of more than 8 bits; otherwise 0.
    """

    images: EncodedImages
    readable: np.ndarray
    unreadable: list[str]
    damaged: list[str]
    bits: np.ndarray
    largest: np.ndarray


class Measured(NamedTuple):
    """A split's images after all were decoded once.

    Attributes:
      images: damaged ones are marked as `unusual`: Pillow decodes them without printing a warning.
      sums: float64 (2, channels), the sum of all images' moments.
      damaged: a message for each image that is damaged but was decoded.
    """

    images: EncodedImages
    sums: np.ndarray
    damaged: list[str]


def image_files(paths: Sequence[Path], decoder: Decoder, folder: Path, name: str) -> Found:
    """Decodes every file once and caches what is learned.

    Args:
      folder: contains the files. The cache stays valid if the folder moves.
      name: file name prefix in the cache (`cached`).

    Raises:
      UserError: the readable images differ in size, or no image is readable.
    """
    depends_on = (
        decoder,
        PLACE.descr,
        EXTENSIONS,
        [(str(path.relative_to(folder)), *stamp(path)) for path in paths],
    )

    def left_out(index) -> list:
        missing = np.setdiff1d(np.arange(len(paths)), index["readable"])
        return [_tried(paths[i], decoder, complaints) for i in missing]

    def is_valid(index) -> bool:
        if index["size"].prod(axis=1).max() > decoder.most_pixels:
            return False
        # Try unreadable files again: a change of permissions does not change a file's time.
        return all(isinstance(line, UserError) for line in left_out(index))

    with captured() as complaints:
        index = cached(name, depends_on, lambda: _index(paths, decoder, complaints), is_valid)
        unreadable = list(map(str, left_out(index)))
    readable = index["readable"]
    places = np.zeros(len(readable), PLACE)
    places["file"] = np.arange(len(places))
    for field in ("length", "orientation", "size"):
        places[field] = index[field]
    files = np.array([str(paths[i]) for i in readable], object)
    shape = tuple(map(int, index["shape"]))
    images = EncodedImages(files, places, decoder, shape, index["moments"], index["unusual"])
    damaged = [
        f"{path}: {said}" for path, said in zip(files, index["said"].tolist(), strict=True) if said
    ]
    return Found(images, readable, unreadable, damaged, index["bits"], index["largest"])


def measured(images: EncodedImages, split: str) -> Measured:
    """Decodes every image of a split once, unless `image_files` already did; caches the result.

    Raises:
      UserError: an image cannot be read or decoded.
    """
    if images.moments is not None:
        return Measured(images, images.moments.sum(0), [])
    content = hashlib.blake2b(np.ascontiguousarray(images.places), digest_size=16).hexdigest()
    paths = [Path(str(file)) for file in images.files]
    depends_on = images.decoder, [(path.name, *stamp(path)) for path in paths], content
    found = cached("measured", depends_on, lambda: _measured(images, split))
    unusual = images.is_unusual().copy()
    unusual[found["damaged"]] = True
    damaged = [
        f"{images.name(position)}: {said}"
        for position, said in zip(found["damaged"], found["said"].tolist(), strict=True)
    ]
    return Measured(replace(images, unusual=unusual), found["sums"], damaged)


def damage_remarks(damaged: Sequence[str], count: int, split: str) -> list[str]:
    """One line that counts the damaged images of a split and names the first few; else none."""
    if not damaged:
        return []
    more = "; …" if len(damaged) > _NAMED else ""
    return [
        f"decoded {len(damaged):,} damaged of {count:,} {split} images: "
        f"{'; '.join(damaged[:_NAMED])}{more}"
    ]


class _Known(NamedTuple):
    """What the index stores for an image: its header, and what decoding showed."""

    shape: tuple[int, ...]
    moments: np.ndarray
    orientation: int
    size: tuple[int, int]
    length: int  # in bytes
    unusual: bool
    bits: int
    largest: int
    said: str = ""


def _index(
    paths: Sequence[Path], decoder: Decoder, complaints: Complaints
) -> dict[str, np.ndarray]:
    """What is known of the readable files, as an array for each field of `_Known`."""

    def examine(path: Path, listens: bool) -> _Known | UserError:
        return _tried(path, decoder, complaints if listens else None)

    found = dict(_examined(examine, paths, "reading", complaints))
    readable = [i for i in range(len(paths)) if not isinstance(found[i], UserError)]
    if not readable:
        raise UserError(f"none of the {len(paths)} image files can be read: {found[0]}")
    known = [found[i] for i in readable]
    for position, one in zip(readable, known, strict=True):
        if one.shape != known[0].shape:
            raise UserError(
                f"images differ in size: {paths[readable[0]]} is {_size(known[0].shape)}, "
                f"{paths[position]} is {_size(one.shape)}; for example, config.data.resize=64 makes "
                "them equal"
            )
    arrays = {field: np.array([getattr(one, field) for one in known]) for field in _Known._fields}
    return {**arrays, "readable": np.array(readable), "shape": np.array(known[0].shape)}


def _measured(images: EncodedImages, split: str) -> dict[str, np.ndarray]:
    """The sum of moments, and the positions of damaged images with the complaints about them."""
    sums, said_of = np.zeros((2, images.decoder.channels)), {}

    def examine(position: int, listens: bool) -> tuple[np.ndarray, list[str]]:
        decode = partial(images.decoded, position, None)
        image, said = complaints.of(decode) if listens else (decode(), [])
        return moments_of(image), said

    with captured() as complaints:
        doing = f"decoding {split}"
        for position, (moments, said) in _examined(examine, range(len(images)), doing, complaints):
            sums += moments
            if said:
                said_of[position] = "; ".join(said)
    damaged = sorted(said_of)
    said = [said_of[position] for position in damaged]
    return {"sums": sums, "damaged": np.array(damaged, np.int64), "said": np.array(said, str)}


def _examined(
    examine: Callable[[T, bool], U], items: Sequence[T], doing: str, complaints: Complaints
) -> Iterator[tuple[int, U]]:
    """(position, `examine(item, listens)`) for each item, in any order.

    Items are examined in threads without listening. Those during which a decoder complained, of this
    item or of another, are examined again one by one, listening.
    """

    def watched(item: T) -> tuple[U, bool]:
        before = complaints.mark()
        made = examine(item, False)
        return made, complaints.mark() != before

    suspects = []
    for i, (made, suspect) in enumerate(in_threads(watched, items, doing, complaints.terminal)):
        if suspect:
            suspects.append(i)
        else:
            yield i, made
    for i in suspects:
        yield i, examine(items[i], True)


def _tried(
    path: Path, decoder: Decoder, complaints: Complaints | None = None
) -> _Known | UserError:
    """What is known of a file, or why it is unreadable; listens if `complaints` is given."""
    try:
        if complaints is None:
            (image, header), said = read_with_header(decoder, path), ()
        else:
            image, header, said = read_listening(decoder, path, complaints)
    except UserError as error:
        return error
    return _Known(
        shape=image.shape,
        moments=moments_of(image),
        orientation=header.orientation,
        size=header.size,
        length=path.stat().st_size,
        unusual=header.unusual,
        bits=header.bits,
        largest=_largest(path, decoder) if header.bits > 8 else 0,
        said="; ".join(said),
    )


def _largest(path: Path, decoder: Decoder) -> int:
    return int(deep_values(path.read_bytes(), decoder.most_pixels).max())


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape[:2]))
