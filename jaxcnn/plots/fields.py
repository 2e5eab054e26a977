"""Receptive fields over an image."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxcnn.plots.colours import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION
from jaxcnn.plots.images import show

_COLOURS = (VERMILION, BLUE, GREEN, PURPLE, GREY, ORANGE)
_APART = 0.008  # of the image: between the lines of fields that all reach its edge


def draw_fields(
    image: np.ndarray, boxes: Mapping[str, tuple[slice, slice]], heading: str = ""
) -> Figure:
    """The boxes (rows, columns) of an image, by name, with their sizes.

    Args:
      image: (height, width, 1 or 3), in [0, 1].
      boxes: in pixels; one that goes beyond the image is drawn to its edge, dashed.
    """
    height, width = image.shape[:2]
    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    figure.suptitle(heading, fontsize=10)
    axes = figure.subplots()
    show(axes, image)
    axes.set(xlabel="pixels", xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    for number, (name, (rows, columns)) in enumerate(boxes.items()):
        inset = (number + 1) * _APART * max(height, width)
        top, left = max(rows.start, inset), max(columns.start, inset)
        bottom, right = min(rows.stop, height - inset), min(columns.stop, width - inset)
        outside = min(rows.start, columns.start) < 0 or rows.stop > height or columns.stop > width
        size = f"{rows.stop - rows.start}×{columns.stop - columns.start} pixels"
        axes.add_patch(
            Rectangle(
                (left - 0.5, top - 0.5),
                right - left,
                bottom - top,
                fill=False,
                lw=2,
                ls="--" if outside else "-",
                edgecolor=_COLOURS[number % len(_COLOURS)],
                label=f"{name}: {size}{', beyond the image' if outside else ''}",
            )
        )
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure
