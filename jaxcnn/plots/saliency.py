"""Where images decide an output."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.plots.images import entitle, panels_of, show
from jaxcnn.plots.text import as_text


def draw_saliency(
    images: np.ndarray,
    names: Sequence[str],
    gradients: np.ndarray,
    maps: np.ndarray | None,
    heading: str = "",
) -> Figure:
    """One row for each image: itself, the size of the gradient, and a coarser map laid over it.

    Args:
      images: (n, height, width, 1 or 3), in [0, 1].
      gradients: (n, height, width), at least 0.
      maps: (n, rows, columns), at least 0; None: no third column.
    """
    columns = ("image", "gradient") + (() if maps is None else ("Grad-CAM",))
    figure = Figure(
        figsize=(1.7 * len(columns) + 1.2, 1.7 * len(images) + 0.8), layout="constrained"
    )
    entitle(figure, heading)
    panels = panels_of(figure, len(images), len(columns))
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
    for panel, title in zip(panels[0], columns, strict=True):
        panel.set_title(title, fontsize=9)
    for row, image in enumerate(images):
        height, width = image.shape[:2]
        show(panels[row, 0], image)
        panels[row, 0].set_ylabel(
            as_text(names[row], 28), fontsize=8, rotation=0, ha="right", va="center", labelpad=6
        )
        panels[row, 1].imshow(gradients[row], cmap="gray", interpolation="nearest", vmin=0)
        if maps is not None:
            show(panels[row, 2], image.mean(axis=-1, keepdims=True))
            strength = maps[row] / max(maps[row].max(), 1e-12)
            panels[row, 2].imshow(
                strength,
                cmap="inferno",
                alpha=0.25 + 0.5 * strength,
                vmin=0,
                vmax=1,
                interpolation="bilinear",
                extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            )
    return figure
