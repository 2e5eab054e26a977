"""The images of a data set that a network finds most like others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.sources.images import EncodedImages
from jaxcnn.diagnose.pictures import label_names
from jaxcnn.plots.neighbours import draw_neighbours
from jaxcnn.train.extraction import features_of_images, features_of_split
from jaxcnn.train.prediction import file_reader
from jaxcnn.train.saved_run import SavedRun


def neighbours_of(
    run: SavedRun, paths: Sequence[str | Path], split: str = "train", count: int = 8
) -> Figure:
    """The images of a split whose features before the head are nearest to those of image files.

    Nearness is the cosine of the angle between features.

    Raises:
      UserError: a file cannot be read, or the data has no such split.
    """
    read = file_reader(run.config.data, run.spec)
    queries = np.stack([read(path) for path in paths])
    dataset = run.dataset(split, {})
    there = features_of_split(run, dataset, split)
    positions, cosines = nearest(features_of_images(run, queries), there, count)
    found = np.stack([pixels_at(dataset, split, each) for each in positions])
    names = label_names(np.asarray(dataset.splits[split].labels), dataset)
    titles = [
        [f"{names[place]}\n{cosine:.2f}" for place, cosine in zip(places, row, strict=True)]
        for places, row in zip(positions, cosines, strict=True)
    ]
    heading = f"{run.config.model.name}: nearest of {len(there):,} {split} images"
    files = [Path(path).name for path in paths]
    return draw_neighbours(queries / 255, files, found / 255, titles, heading)


def nearest(queries: np.ndarray, features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the features (images, width) nearest to each query (queries, width).

    Returns:
      Positions and cosines, (queries, count) each, or as many as there are; the nearest first.
    """
    cosines = _of_length_1(queries) @ _of_length_1(features).T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosines, order, axis=1)


def pixels_at(dataset: Dataset, split: str, positions: np.ndarray) -> np.ndarray:
    """Some images of a split as they are stored, decoded."""
    images = dataset.splits[split].images
    if isinstance(images, EncodedImages):
        return np.stack([images.decoded(position) for position in positions])
    return np.asarray(images[positions])


def _of_length_1(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
