"""Charts as inline SVG. The page's style sheet sets their colours: light, dark and print."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 10, 40  # margins, in pixels
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One arm in a chart.

    Attributes:
      number: index of the arm; sets its colour and the class with which the page hides it.
      line: points of the line; `steps` draws it as a step function.
      band: (x, low, high) at each point.
      dots: (x, y, tooltip) of each dot.
      crosses: the same, for runs that diverged or missed the target.
    """

    name: str
    number: int
    line: Sequence[Point] = ()
    steps: bool = False
    band: Sequence[tuple[float, float, float]] = ()
    dots: Sequence[tuple[float, float, str]] = ()
    crosses: Sequence[tuple[float, float, str]] = ()


@dataclass(frozen=True)
class Axis:
    """An axis of a chart; spans the data unless it has a range."""

    label: str
    log: bool = False
    low: float | None = None
    high: float | None = None
    ticks: Sequence[tuple[float, str]] = field(default=())


def chart(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    width: int = 680,
    height: int = 340,
    left: int = _LEFT,
    title: str = "",
) -> str:
    """Returns a chart as an SVG element.

    Args:
      left: margin for the labels of the y-axis, in pixels.
      title: heading above the chart.
    """
    top = _TOP + (18 if title else 0)
    xs = _scale([p[0] for s in series for p in _points(s)], x, left, width - _RIGHT)
    ys = _scale([v for s in series for p in _points(s) for v in p[1:]], y, height - _BOTTOM, top)
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title or y.label)}">'
    ]
    if title:
        parts.append(f'<text class="title" x="{left}" y="14">{escape(title)}</text>')
    parts += _x_axis(xs, x, left, width, height, top)
    parts += _y_axis(ys, y, left, width, height, top)
    for one in series:
        parts += _draw(one, xs.at, ys.at)
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True)
class _Scale:
    """The map from data to pixels, and the ticks."""

    at: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]


def _points(series: Series) -> list[tuple[float, ...]]:
    marks = [mark[:2] for mark in (*series.dots, *series.crosses)]
    return [*series.line, *series.band, *marks]


def _scale(values: Sequence[float], axis: Axis, start: float, end: float) -> _Scale:
    values = [value for value in values if math.isfinite(value) and (value > 0 or not axis.log)]
    low = min(values, default=0.1 if axis.log else 0.0) if axis.low is None else axis.low
    high = max(values, default=1.0) if axis.high is None else axis.high
    if axis.log:
        if high <= low:
            low, high = low / 2, high * 2
        ticks = axis.ticks or _log_ticks(low, high)
        span = math.log(high / low)

        def at(value: float) -> float:
            return start + math.log(max(value, low) / low) / span * (end - start)
    else:
        if high <= low:
            low, high = low - 0.5, high + 0.5
        ticks = axis.ticks or _linear_ticks(low, high)

        def at(value: float) -> float:
            return start + (value - low) / (high - low) * (end - start)

    return _Scale(at, [tick for tick in ticks if low <= tick[0] * (1 + 1e-9) and tick[0] <= high])


def _linear_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """About five round numbers."""
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    numbers = np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step
    return [(float(number), f"{number:.10g}") for number in numbers]


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Powers of ten; with 2 and 5 times each on a short axis; round numbers on a very short one."""
    if math.log10(high / low) < 0.7:
        return _linear_ticks(low, high)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if math.log10(high / low) > 2.5 else (1, 2, 5)
    numbers = [factor * 10.0**decade for decade in decades for factor in factors]
    return [
        (number, f"{number:.10g}" if 1e-4 < number < 1e5 else f"{number:.0e}") for number in numbers
    ]


def _x_axis(scale: _Scale, axis: Axis, left: int, width: int, height: int, top: int) -> list[str]:
    base, parts = height - _BOTTOM, []
    for value, text in scale.ticks:
        at = f"{scale.at(value):.1f}"
        parts.append(f'<path class="grid" d="M{at} {top}V{base}"/>')
        parts.append(f'<text x="{at}" y="{base + 15}" text-anchor="middle">{escape(text)}</text>')
    middle = (left + width - _RIGHT) / 2
    parts.append(f'<path class="axis" d="M{left} {base}H{width - _RIGHT}"/>')
    parts.append(
        f'<text class="label" x="{middle:.1f}" y="{height - 6}" text-anchor="middle">'
        f"{escape(axis.label)}</text>"
    )
    return parts


def _y_axis(scale: _Scale, axis: Axis, left: int, width: int, height: int, top: int) -> list[str]:
    parts = []
    for value, text in scale.ticks:
        at = scale.at(value)
        parts.append(f'<path class="grid" d="M{left} {at:.1f}H{width - _RIGHT}"/>')
        parts.append(
            f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        )
    middle = (top + height - _BOTTOM) / 2
    parts.append(
        f'<text class="label" transform="translate(12 {middle:.1f}) rotate(-90)" '
        f'text-anchor="middle">{escape(axis.label)}</text>'
    )
    return parts


def _draw(series: Series, at_x: Callable, at_y: Callable) -> list[str]:
    def path(points: Sequence[Point]) -> str:
        return " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)

    parts = [f'<g class="arm arm-{series.number}"><title>{escape(series.name)}</title>']
    if series.band:
        lower = [(x, low) for x, low, _ in series.band]
        upper = [(x, high) for x, _, high in reversed(series.band)]
        parts.append(f'<polygon class="band" points="{path([*lower, *upper])}"/>')
    if series.line:
        line = list(series.line)
        if series.steps:
            corners = [[(b[0], a[1]), b] for a, b in itertools.pairwise(line)]
            line = [line[0], *itertools.chain.from_iterable(corners)]
        parts.append(f'<polyline class="line" points="{path(line)}"/>')
    for x, y, tooltip in series.dots:
        parts.append(
            f'<circle class="dot" cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3.5">'
            f"<title>{escape(tooltip)}</title></circle>"
        )
    for x, y, tooltip in series.crosses:
        parts.append(
            f'<path class="cross" d="M{at_x(x) - 3.5:.1f} {at_y(y) - 3.5:.1f}l7 7m0 -7l-7 7">'
            f"<title>{escape(tooltip)}</title></path>"
        )
    return [*parts, "</g>"]
