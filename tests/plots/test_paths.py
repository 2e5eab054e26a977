import numpy as np
import pytest
from matplotlib.colors import to_rgb

from jaxcnn.plots.paths import COLOURS, FRAMES_PER_SECOND, Path, Terrain, draw_paths, frames_of

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("steps", [1, 7, 80, 81, 10_000])
def test_an_animation_goes_from_the_start_to_the_end_in_ten_seconds(steps):
    frames = frames_of(steps)
    assert frames[0] == 0
    assert frames[-1] == steps
    assert (np.diff(frames) >= 0).all()
    assert len(frames) / FRAMES_PER_SECOND <= 10


def test_paths_can_be_told_apart_and_their_values_are_in_the_picture():
    x, y = np.linspace(-1, 1, 20), np.linspace(0, 1, 30)
    terrain = Terrain(x, y, x**2 + y[:, None], np.array([-0.5, 0.5]), np.array([[0.0, 0.0]]))
    values = [np.array([1.0, 1e-3]), np.array([1.0, np.inf]), np.array([1.0, 0.0])]
    points = np.array([[-0.5, 0.5], [0.0, 0.1]])
    paths = [Path(points, value, f"path {i}") for i, value in enumerate(values)]
    figure, show = draw_paths(terrain, paths, "a heading", "a legend")
    figure.draw_without_rendering()
    ground, curves = figure.axes
    assert curves.get_ylim() == pytest.approx((1e-3 / 3, 3))
    assert (ground.get_xlim(), ground.get_ylim()) == ((-1, 1), (0, 1))
    trails = show(1)[::3]
    assert [trail.get_color() for trail in trails] == list(COLOURS[:3])
    assert [line.get_color() for line in figure.legends[0].get_lines()] == list(COLOURS[:3])
    assert len({to_rgb(colour) for colour in COLOURS}) == len(COLOURS)
