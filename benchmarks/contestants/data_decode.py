"""The floor under a pipeline of JPEG files: whole images decoded, and nothing else done."""

import io
import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from benchmarks.contestants.photographs import encoded_photographs
from jaxcnn.tensorflow import tensorflow


def photographs(folder: Path, batch_size: int, size: int, library: str) -> Iterator:
    del size
    encoded, _ = encoded_photographs(folder)
    return {"tensorflow": _by_tensorflow, "pil": _by_pil}[library](encoded, batch_size)


def _by_tensorflow(encoded: list[bytes], batch_size: int) -> Iterator:
    tf = tensorflow("decoding")

    def decoded(jpeg):
        return tf.size(tf.io.decode_jpeg(jpeg, channels=3))  # images of many sizes make no batch

    dataset = tf.data.Dataset.from_tensor_slices(encoded).repeat()
    dataset = dataset.map(decoded, num_parallel_calls=os.cpu_count())
    return dataset.batch(batch_size).prefetch(2).as_numpy_iterator()


def _by_pil(encoded: list[bytes], batch_size: int) -> Iterator:
    def decoded(jpeg: bytes) -> tuple[int, int]:
        return Image.open(io.BytesIO(jpeg)).convert("RGB").size

    endless = itertools.cycle(encoded)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while True:
            yield list(pool.map(decoded, itertools.islice(endless, batch_size)))
