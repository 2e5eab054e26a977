import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jaxcnn.errors import UserError
from jaxcnn.plots.colours import BLUE, VERMILION
from jaxcnn.plots.saving import save, save_animation

pytestmark = pytest.mark.fast


def test_a_figure_is_saved_in_folders_that_are_made(tmp_path):
    path = tmp_path / "deep" / "figure.png"
    save(Figure(figsize=(2, 1)), path)
    assert Image.open(path).size == (220, 110)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/figure.png: (Not a dir|File exists)"):
        save(Figure(), tmp_path / "file" / "figure.png")


def test_an_animation_shows_what_moves_over_what_does_not(tmp_path):
    """In the colours of the figure, although there are too many for a GIF."""
    figure = Figure(figsize=(3, 2))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 4), ylim=(0, 3))
    axes.axis("off")
    shades = np.linspace(0.5, 1, 400)[None]
    axes.imshow(shades, cmap="Greens", extent=(0, 4, 0, 1), aspect="auto", vmin=0, vmax=1)
    axes.axhline(1.5, color=VERMILION, lw=2)
    (line,) = axes.plot([], [], color=BLUE, lw=2)

    def show(frame):
        line.set_data([0, frame], [2.5, 2.5])
        return [line]

    save_animation(figure, show, [1, 2, 4], tmp_path / "new" / "moving.gif", 10)
    with Image.open(tmp_path / "new" / "moving.gif") as animation:
        assert (animation.n_frames, animation.size) == (3, (330, 220))
        for frame, end in enumerate((1, 2, 4)):
            animation.seek(frame)
            assert animation.info["duration"] == 100
            pixels = np.asarray(animation.convert("RGB")).astype(int)
            blue, still = (
                np.abs(pixels - [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).max(-1) < 8
                for colour in (BLUE, VERMILION)
            )
            assert blue.any(axis=0).sum() == pytest.approx(330 * end / 4, abs=3)
            assert still.any(axis=0).all()
