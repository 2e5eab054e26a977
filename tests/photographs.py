"""A small set of JPEG photographs in TFDS's format, made offline of those that packages bundle."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage
import tensorflow_datasets as tfds
from PIL import Image
from sklearn.datasets import load_sample_image

from jaxcnn.tensorflow import tensorflow

OF_SKLEARN = ("china.jpg", "flower.jpg")
OF_SKIMAGE = (
    "astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "ihc.png",
    "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
NAMES = tuple(Path(name).stem for name in (*OF_SKLEARN, *OF_SKIMAGE))


def make_photographs(data_dir: str | Path, images: int = 256, seed: int = 0) -> None:
    """Prepares the TFDS set `photographs` in a directory, where any process can then read it.

    Its images are pieces of ten photographs, each a class, of about ImageNet's size (500 × 375, one in
    five upright). Each split is in four shards.

    Args:
      images: how many the split train has; test has a quarter as many.
    """
    tensorflow("making photographs")  # TFDS must not be the one that imports it
    tfds.disable_progress_bar()
    builder = Photographs(images, seed, data_dir=str(data_dir))
    config = tfds.download.DownloadConfig(num_shards=4, try_download_gcs=False)
    builder.download_and_prepare(download_config=config)


class Photographs(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Pieces of photographs, told apart by which one they are of."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, images: int, seed: int, **settings):
        super().__init__(**settings)
        self._counts = {"train": images, "test": images // 4}
        self._seed = seed

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=NAMES),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        del dl_manager  # there is nothing to download
        whole = photographs()
        return {
            split: self._generate_examples(whole, count, np.random.default_rng((self._seed, i)))
            for i, (split, count) in enumerate(self._counts.items())
        }

    def _generate_examples(self, whole, count: int, rng) -> Iterator[tuple[int, dict]]:
        for i in range(count):
            label = i % len(whole)
            yield i, {"image": as_jpeg(piece(whole[label], rng)), "label": label}


def photographs() -> list[Image.Image]:
    """The photographs, in the order of `NAMES`."""
    of_sklearn = [Image.fromarray(load_sample_image(name)) for name in OF_SKLEARN]
    folder = Path(skimage.data_dir)
    return of_sklearn + [Image.open(folder / name).convert("RGB") for name in OF_SKIMAGE]


def piece(photograph: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A box of half to all of the photograph's width or height, scaled to ImageNet's size."""
    long_side = rng.integers(450, 551)
    short_side = round(long_side * rng.uniform(0.68, 0.82))
    upright = rng.random() < 0.2
    size = np.array((short_side, long_side) if upright else (long_side, short_side))
    box = size * (np.array(photograph.size) / size).min() * rng.uniform(0.5, 1)
    corner = rng.random(2) * (photograph.size - box)
    return photograph.resize(
        tuple(size.tolist()), Image.Resampling.BICUBIC, box=(*corner, *(corner + box))
    )


def as_jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()
