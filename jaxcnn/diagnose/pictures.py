"""Pictures of batches, of filters and of mistakes, as matplotlib figures."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def image_grid(
    images: np.ndarray, titles: Sequence[str] = (), columns: int = 8, heading: str = ""
) -> Figure:
    """Images side by side.

    Args:
      images: (n, height, width, 1 or 3), in 0…1.
      titles: one per image, or none.
    """
    columns = max(1, min(columns, len(images)))
    rows = max(1, math.ceil(len(images) / columns))
    figure = Figure(figsize=(1.25 * columns, 1.4 * rows + 0.4), layout="constrained")
    figure.suptitle(heading)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.axis("off")
    for i, (panel, image) in enumerate(zip(panels, np.clip(images, 0, 1), strict=False)):
        panel.imshow(
            image[..., 0] if image.shape[-1] == 1 else image,
            cmap="gray",
            vmin=0,
            vmax=1,
            interpolation="nearest",
        )
        if len(titles):
            panel.set_title(titles[i], fontsize=8)
    return figure


def contact_sheet(
    batch: dict, mean: np.ndarray, std: np.ndarray, class_names: Sequence[str], heading: str = ""
) -> Figure:
    """A batch as the network gets it, with its labels; the normalisation is undone."""
    pixels = batch["image"] * std + mean
    scale = 255 if mean.max() > 1 or pixels.max() > 2 else 1
    titles = [class_names[label] for label in batch["label"]]
    return image_grid(pixels / scale, titles, heading=heading)


def first_layer_filters(params: dict) -> Figure:
    """The kernels of the first convolution, each stretched over the grey or colour range.

    Raises:
      ValueError: the model has no convolution.
    """
    kernels = _first_convolution(params)
    if kernels is None:
        raise ValueError("the model has no convolution")
    filters = np.moveaxis(np.asarray(kernels, np.float32), -1, 0)
    if filters.shape[-1] not in (1, 3):
        filters = filters.mean(-1, keepdims=True)
    low, high = filters.min((1, 2, 3), keepdims=True), filters.max((1, 2, 3), keepdims=True)
    return image_grid(
        (filters - low) / np.maximum(high - low, 1e-12), heading="first-layer filters"
    )


def most_confident_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    count: int = 16,
) -> Figure:
    """The wrongly classified images that the network was surest of.

    Args:
      images: (n, height, width, 1 or 3), in 0…1.
      labels: (n,), whole numbers.
      probabilities: (n, classes).
    """
    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(1))][:count]
    titles = [
        f"{class_names[predicted[i]]} {probabilities[i].max():.0%}\nis {class_names[labels[i]]}"
        for i in worst
    ]
    return image_grid(
        images[worst], titles, heading=f"most confident of {len(wrong)} mistakes in {len(labels)}"
    )


def save(figure: Figure, path: str | Path) -> None:
    """Writes a PNG."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _first_convolution(params: dict) -> np.ndarray | None:
    """The first 4-dimensional kernel, the stem's where there is one."""
    names = sorted(params, key=lambda name: (not name.startswith("stem"), name))
    for name in names:
        if "kernel" in params[name] and np.ndim(params[name]["kernel"]) == 4:
            return params[name]["kernel"]
    return None
