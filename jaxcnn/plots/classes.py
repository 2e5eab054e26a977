"""Pictures of a classifier's answers: the confusion matrix, and its calibration."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.plots.colours import BLUE, GREY, VERMILION
from jaxcnn.plots.text import as_text

_MOST_NUMBERS = 20  # classes: beyond, cells have no numbers
_MOST_NAMES = 60


def draw_confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """The share of each class's images (rows) by prediction (columns).

    Args:
      counts: (classes, classes).
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    classes = len(names)
    names = [as_text(name, 24) for name in names]
    side = min(9.0, 1.8 + 0.45 * classes) + 0.06 * max(map(len, names))
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="class")
    if classes <= _MOST_NAMES:
        small = 8 if classes <= _MOST_NUMBERS else 5
        axes.set_xticks(range(classes), names, rotation=90, fontsize=small)
        axes.set_yticks(range(classes), names, fontsize=small)
    if classes <= _MOST_NUMBERS:
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.5 else GREY
            axes.text(
                column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=7, color=color
            )  # fmt: skip
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the class")
    return figure


def draw_calibration(
    edges: np.ndarray,
    confidence: np.ndarray,
    accuracy: np.ndarray,
    counts: np.ndarray,
    error: float,
) -> Figure:
    """Accuracy by confidence, in bins, above how many images are in each.

    Args:
      edges: (bins + 1,); confidence, accuracy, counts: (bins,).
    """
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    above.bar(middle, accuracy, width, color=BLUE, alpha=0.35, edgecolor=BLUE, label="accuracy")
    above.plot([0, 1], [0, 1], color=GREY, ls=":", label="perfectly calibrated")
    above.plot(confidence, accuracy, color=VERMILION, marker="o", ms=4, lw=0, label="mean of a bin")
    above.set(ylabel="accuracy", ylim=(0, 1), xlim=(0, 1))
    above.set_title(f"expected calibration error {error:.2%}", fontsize=10)
    above.legend(frameon=False, fontsize=8, loc="upper left")
    below.bar(middle, counts, width, color=BLUE, alpha=0.35, edgecolor=BLUE)
    below.set(xlabel="probability of the predicted class", ylabel="images")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure
