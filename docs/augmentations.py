"""Draws docs/images/augmentations.jpg: every augmentation and mix, on a photograph of scikit-learn's.

python docs/augmentations.py
"""

from pathlib import Path

import jax
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from jaxcnn.data.augment.arrays import numpy_arrays
from jaxcnn.data.augment.base import Pixels
from jaxcnn.data.augment.table import AUGMENTATIONS
from jaxcnn.plots.images import augmentation_sheet
from jaxcnn.plots.saving import save
from jaxcnn.train.mixing import MIXES, create_mixes, mixed

OUT = Path(__file__).parent / "images" / "augmentations.jpg"
COLUMNS = 8


def main() -> None:
    photographs = [
        np.asarray(Image.fromarray(image[:, 100:527]).resize((80, 80), Image.Resampling.LANCZOS))
        for image in load_sample_images().images
    ]
    flower, temple = (photograph.astype(np.float32) for photograph in reversed(photographs))
    rng, rows = np.random.default_rng(0), {}
    for name in AUGMENTATIONS.names():
        strong = {"cutout": {"size": 24}, "pad_and_crop": {"padding": 12}}.get(name, {})
        augmentation = AUGMENTATIONS.create(name, **{"probability": 1.0, **strong})
        draws = rng.random((COLUMNS, augmentation.draws), np.float32)
        images = np.repeat(flower[None], COLUMNS, 0)
        pixels = Pixels(True, flower.mean(axis=(0, 1)))
        rows[name] = augmentation(numpy_arrays, images, draws, pixels)
    batch = {"image": np.stack([flower, temple]), "label": np.array([0, 1])}
    for name in MIXES.names():
        mixes = create_mixes([{"name": name, "alpha": 1.0}])
        keys = jax.random.split(jax.random.key(1), COLUMNS)
        rows[name] = np.stack([mixed(mixes, key, batch, 2)["image"][0] for key in keys])
    columns = [np.stack([row[i] for row in rows.values()]) / 255 for i in range(COLUMNS)]
    save(augmentation_sheet(columns, [""] * COLUMNS, list(rows)), OUT.with_suffix(".png"))
    with Image.open(OUT.with_suffix(".png")) as picture:
        small = picture.convert("RGB").reduce(2)
        small.save(OUT, quality=88)
    OUT.with_suffix(".png").unlink()


if __name__ == "__main__":
    main()
