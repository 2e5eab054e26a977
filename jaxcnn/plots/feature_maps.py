"""Images beside their feature maps."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.plots.images import entitle, panels_of, show
from jaxcnn.plots.text import as_text


def draw_feature_maps(
    images: np.ndarray,
    names: Sequence[str],
    maps: np.ndarray,
    titles: Sequence[str],
    heading: str = "",
) -> Figure:
    """One row for each image, followed by its maps, all on one scale.

    Args:
      images: (n, height, width, 1 or 3), in [0, 1].
      maps: (n, rows, columns, units). Where some are negative, the colours diverge from white at 0.
      titles: of the units.
    """
    rows, columns = len(images), len(titles) + 1
    figure = Figure(figsize=(max(4.5, columns + 1.2), rows + 0.9), layout="constrained")
    entitle(figure, heading)
    panels = panels_of(figure, rows, columns)
    largest = max(float(np.abs(maps).max()), 1e-12)
    signed = maps.min() < 0
    scale = {"cmap": "RdBu_r" if signed else "viridis", "vmin": -largest if signed else 0}
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        show(panels[row, 0], image)
        panels[row, 0].set_ylabel(as_text(name, 14), fontsize=8)
        for panel, one in zip(panels[row, 1:], np.moveaxis(maps[row], -1, 0), strict=True):
            drawn = panel.imshow(one, vmax=largest, interpolation="nearest", **scale)
    for panel, title in zip(panels[0], ["image", *titles], strict=True):
        panel.set_title(title, fontsize=8)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
    figure.colorbar(drawn, ax=panels, label="activation", shrink=min(1.0, 2.5 / rows), pad=0.01)
    return figure
