"""Parts of images in rows."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.plots.images import entitle, panels_of, show
from jaxcnn.plots.text import as_text

_BEYOND = "#DCE6F0"  # where a part has no pixels


def draw_patches(
    rows: Sequence[Sequence[np.ndarray]],
    names: Sequence[str],
    titles: Sequence[Sequence[str]],
    heading: str = "",
) -> Figure:
    """One row for each name.

    Args:
      rows: of parts (height, width, 1 or 3), in [0, 1]; NaN where there are no pixels.
      titles: one for each part.
    """
    columns = max(map(len, rows))
    figure = Figure(
        figsize=(max(4.5, 1.25 * columns + 0.5), 1.5 * len(rows) + 0.9), layout="constrained"
    )
    entitle(figure, heading)
    panels = panels_of(figure, len(rows), columns)
    for panel in panels.flat:
        panel.axis("off")
    for row, parts in enumerate(rows):
        panels[row, 0].text(
            -0.12, 0.5, names[row], transform=panels[row, 0].transAxes, rotation=90,
            ha="right", va="center", fontsize=8,
        )  # fmt: skip
        for panel, part, title in zip(panels[row], parts, titles[row], strict=False):
            panel.axis("on")
            panel.set(xticks=[], yticks=[], facecolor=_BEYOND)
            panel.set_title(as_text(title, 16), fontsize=7)
            colours = np.broadcast_to(np.nan_to_num(part), (*part.shape[:2], 3))
            show(panel, np.concatenate([colours, ~np.isnan(part[..., :1])], axis=-1))
    return figure
