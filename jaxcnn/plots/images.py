"""Images in a grid, or in rows of augmentation stages."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcnn.errors import UserError
from jaxcnn.plots.text import as_text

MOST_PANELS = 400


def image_grid(
    images: np.ndarray, titles: Sequence[str] = (), columns: int = 8, heading: str = ""
) -> Figure:
    """Images in a grid.

    Args:
      images: (n, height, width, 1 or 3), in [0, 1].
      titles: one per image, or none.
      columns: maximum number of columns.
    """
    columns = max(1, min(columns, len(images)))
    rows = max(1, math.ceil(len(images) / columns))
    figure = Figure(figsize=(1.25 * columns, 1.4 * rows + 0.4), layout="constrained")
    figure.suptitle(as_text(heading))
    panels = panels_of(figure, rows, columns).ravel()
    for panel in panels:
        panel.axis("off")
    for i, (panel, image) in enumerate(zip(panels, images, strict=False)):
        show(panel, image)
        if len(titles):
            panel.set_title(as_text(titles[i], 18), fontsize=8)
    return figure


def augmentation_sheet(
    stages: Sequence[np.ndarray], names: Sequence[str], titles: Sequence[str], heading: str = ""
) -> Figure:
    """One row per image, one column per augmentation stage.

    Args:
      stages: one array (images, height, width, 1 or 3) per column, in [0, 1].
      names: of the columns.
      titles: of the images, one per row.
    """
    rows, columns = len(stages[0]), len(stages)
    figure = Figure(figsize=(1.45 * columns + 0.6, 1.45 * rows + 0.5), layout="constrained")
    figure.suptitle(as_text(heading))
    panels = panels_of(figure, rows, columns)
    for column, (images, name) in enumerate(zip(stages, names, strict=True)):
        panels[0, column].set_title(name, fontsize=8)
        for row, image in enumerate(images):
            show(panels[row, column], image)
            panels[row, column].set(xticks=[], yticks=[])
    for row, title in enumerate(titles):
        panels[row, 0].set_ylabel(as_text(title, 20), fontsize=8)
    return figure


def panels_of(figure: Figure, rows: int, columns: int) -> np.ndarray:
    """The panels of a picture, (rows, columns).

    Raises:
      UserError: they are more than can be seen in one, and would take minutes to lay out.
    """
    if rows * columns > MOST_PANELS:
        raise UserError(
            f"a picture has at most {MOST_PANELS} images; this one would have {rows * columns:,}"
        )
    return figure.subplots(rows, columns, squeeze=False)


def show(panel: Axes, image: np.ndarray) -> None:
    """Shows an image (height, width, 1 or 3), clipped to [0, 1]."""
    image = np.clip(image, 0, 1)
    grey = image.shape[-1] == 1
    panel.imshow(
        image[..., 0] if grey else image, cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )


def entitle(figure: Figure, heading: str) -> None:
    """Writes a heading above the panels, in lines as long as the figure is wide."""
    width = int(14 * figure.get_figwidth())  # in characters of this size
    lines = [textwrap.fill(line, width) for line in heading.splitlines()]
    figure.suptitle(as_text("\n".join(lines)), fontsize=9)
