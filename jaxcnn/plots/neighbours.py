"""Images beside those that a network finds most like them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.plots.images import panels_of, show
from jaxcnn.plots.text import as_text


def draw_neighbours(
    queries: np.ndarray,
    names: Sequence[str],
    neighbours: np.ndarray,
    titles: Sequence[Sequence[str]],
    heading: str = "",
) -> Figure:
    """One row for each query, followed by its neighbours.

    Args:
      queries: (n, height, width, 1 or 3), in [0, 1].
      names: of the queries.
      neighbours: (n, count, height, width, 1 or 3), in [0, 1], the nearest first.
      titles: of the neighbours.
    """
    rows, count = neighbours.shape[:2]
    figure = Figure(figsize=(1.35 * (count + 1) + 0.3, 1.6 * rows + 0.5), layout="constrained")
    figure.suptitle(as_text(heading), fontsize=10)
    panels = panels_of(figure, rows, count + 1)
    for row in range(rows):
        for panel, image, title in zip(
            panels[row],
            [queries[row], *neighbours[row]],
            [names[row], *titles[row]],
            strict=True,
        ):
            show(panel, image)
            panel.set(xticks=[], yticks=[])
            panel.set_title(as_text(title, 16), fontsize=8)
        for side in panels[row, 0].spines.values():
            side.set(color="#D55E00", linewidth=2.5)
    return figure
