"""Paths over the contours of a function of two numbers, and the values along them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxcnn.plots.colours import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "black")  # of the paths
_HEIGHTS = LinearSegmentedColormap.from_list("heights", ["#A9C1DA", "#D6E2EE", "#FFFFFF"])
SMALLEST = 1e-12  # value that is told from the minimum
FRAMES_PER_SECOND = 10  # of an animation
_MOVING, _STILL = 80, 15  # its frames at most, and those that repeat the last one


class Terrain(NamedTuple):
    """A function on a grid: x (columns,), y (rows,), heights (rows, columns) above its minimum.

    `start` is (2,), and `minima` (n, 2).
    """

    x: np.ndarray
    y: np.ndarray
    heights: np.ndarray
    start: np.ndarray
    minima: np.ndarray


class Path(NamedTuple):
    """Points (n + 1, 2), the values there (n + 1,), and what the legend says."""

    points: np.ndarray
    values: np.ndarray
    label: str


def draw_paths(
    terrain: Terrain, paths: Sequence[Path], heading: str = "", legend: str = ""
) -> tuple[Figure, Callable[[int], list[Line2D]]]:
    """The paths on a map, beside the values over the steps.

    Args:
      paths: at most as many as `COLOURS`.
      legend: its title.

    Returns:
      The figure with the whole paths, and a function that draws them up to a step and returns their
      lines.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    figure.suptitle(heading, fontsize=13)
    ground, values = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _draw_terrain(ground, terrain)
    lines = []
    for path, colour in zip(paths, COLOURS, strict=False):
        (trail,) = ground.plot([], [], color=colour, lw=1.8, marker=".", ms=4, zorder=3)
        (head,) = ground.plot([], [], color=colour, marker="o", ms=8, mec="white", zorder=4)
        (curve,) = values.plot([], [], color=colour, lw=1.8, label=path.label)
        lines.append((path, trail, head, curve))
    drawn = np.concatenate([path.values for path in paths])
    drawn = drawn[(drawn > 0) & (drawn <= terrain.heights.max())]
    values.set(yscale="log", ylim=(max(SMALLEST, drawn.min() / 3), 3 * drawn.max()))
    values.set(xlim=(0, max(len(path.values) for path in paths) - 1))
    values.set(xlabel="step", ylabel=r"$f - f_{\mathrm{min}}$")
    values.grid(alpha=0.3)
    fit = 130 // (10 + max(len(path.label) for path in paths))
    columns = max(1, min(fit, 2 if len(paths) == 4 else 3))
    figure.legend(title=legend, loc="outside lower center", ncols=columns, frameon=False)

    def show(step: int) -> list[Line2D]:
        for path, trail, head, curve in lines:
            trail.set_data(*path.points[: step + 1].T)
            head.set_data(*path.points[step : step + 1].T)
            curve.set_data(np.arange(len(path.values))[: step + 1], path.values[: step + 1])
        return [artist for _, *artists in lines for artist in artists]

    show(max(len(path.values) for path in paths) - 1)
    return figure, show


def _draw_terrain(axes: Axes, terrain: Terrain) -> None:
    highest = terrain.heights.max()
    levels = np.geomspace(1e-5 * highest, highest, 13)
    grid = terrain.x, terrain.y, np.maximum(terrain.heights, levels[0])
    axes.contourf(*grid, levels, cmap=_HEIGHTS, norm=LogNorm(levels[0], highest))
    axes.contour(*grid, levels, colors="#8E9DAD", linewidths=0.5)
    black = {"color": "black", "mec": "white", "ls": "none"}
    axes.plot(*terrain.start, marker="s", ms=9, zorder=5, **black)
    axes.annotate(
        "start", terrain.start, (-7, 7), textcoords="offset points", ha="right", fontsize=11
    )
    axes.plot(*terrain.minima.T, marker="*", ms=20, zorder=3, **black)
    axes.set(xlim=terrain.x[[0, -1]], ylim=terrain.y[[0, -1]], xlabel="x", ylabel="y")


def frames_of(steps: int) -> list[int]:
    """The step that each frame of an animation shows, from 0 on; the last one stays for a moment."""
    moving = np.linspace(0, steps, min(steps, _MOVING) + 1).round().astype(int)
    return [*moving.tolist(), *[steps] * _STILL]
