"""Saves figures and animations to files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.files import asked_for

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

DOTS_PER_INCH = 110


def save(figure: "Figure", path: str | Path) -> None:
    """Writes a figure in the format of the path's extension, and creates missing directories.

    Raises:
      UserError: the file cannot be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DOTS_PER_INCH)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def save_animation(
    figure: "Figure",
    show: "Callable[[int], Sequence[Artist]]",
    frames: Sequence[int],
    path: str | Path,
    frames_per_second: int,
) -> None:
    """Writes a GIF that repeats without end, and creates missing directories.

    All frames share one palette, and what does not move is drawn once: the file is several times as
    small as that of matplotlib's PillowWriter, which draws each frame anew with its own palette.

    Args:
      show: changes the figure to a frame, and returns what moves.
      frames: what it is called with, in order.

    Raises:
      UserError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    for artist in show(frames[0]):
        artist.set_animated(True)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)

    def picture_of(frame: int) -> Image.Image:
        canvas.restore_region(still)
        for artist in show(frame):
            artist.axes.draw_artist(artist)
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")

    # The most frequent colours as they are: means of colours would mix those of thin lines.
    counts = picture_of(frames[-1]).getcolors(2**24)
    palette = Image.new("P", (1, 1))
    palette.putpalette([level for _, colour in sorted(counts)[:-129:-1] for level in colour])
    first, *others = (
        picture_of(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames
    )
    with asked_for("out", Path(path)) as partial:
        first.save(
            partial,
            "GIF",
            save_all=True,
            append_images=others,
            duration=1000 // frames_per_second,
            loop=0,
        )
