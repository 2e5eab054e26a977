"""Test functions of optimization in two dimensions, for paths that can be drawn."""

from collections.abc import Callable
from dataclasses import dataclass

import jax

CONDITION = 50.0  # of the ravine: the ratio of its curvatures


@dataclass(frozen=True)
class Surface:
    """A test function, whose smallest value is 0, and the part of it that a picture shows.

    Attributes:
      function: (2,) → (), of JAX.
      start: where a path begins.
      minima: the points where the function is 0.
      x, y: the first and the last coordinate in the picture.
      title: what it is, or who published it.
      formula: in matplotlib's mathtext.
    """

    function: Callable[[jax.Array], jax.Array]
    start: tuple[float, float]
    minima: tuple[tuple[float, float], ...]
    x: tuple[float, float]
    y: tuple[float, float]
    title: str
    formula: str


def ravine(point: jax.Array) -> jax.Array:
    """½(x² + κy²), with a condition number κ of 50: the quadratic of Polyak 1964."""
    x, y = point
    return (x**2 + CONDITION * y**2) / 2


def saddle(point: jax.Array) -> jax.Array:
    """½x² + ¼(y² − 1)²: near the origin ¼ + ½(x² − y²), and bounded by two minima at (0, ±1).

    Dauphin et al. 2014 describe saddle points as what slows down training.
    """
    x, y = point
    return x**2 / 2 + (y**2 - 1) ** 2 / 4


def beale(point: jax.Array) -> jax.Array:
    """(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²: Beale 1958."""
    x, y = point
    return sum((c - x + x * y**n) ** 2 for n, c in ((1, 1.5), (2, 2.25), (3, 2.625)))


def rosenbrock(point: jax.Array) -> jax.Array:
    """(1 − x)² + 100(y − x²)²: Rosenbrock 1960."""
    x, y = point
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


# The starts of Beale's and Rosenbrock's functions are those of Moré, Garbow & Hillstrom 1981.
SURFACES = {
    "ravine": Surface(
        ravine,
        start=(-4.0, 0.9),
        minima=((0.0, 0.0),),
        x=(-5.0, 2.0),
        y=(-1.2, 1.2),
        title=f"a ravine with condition number {CONDITION:g}",
        formula=r"f = \frac{1}{2}\,(x^2 + 50\,y^2)",
    ),
    "saddle": Surface(
        saddle,
        start=(-1.5, 0.01),
        minima=((0.0, 1.0), (0.0, -1.0)),
        x=(-1.8, 1.2),
        y=(-1.6, 1.6),
        title="a saddle point between two minima",
        formula=r"f = \frac{1}{2}\,x^2 + \frac{1}{4}\,(y^2 - 1)^2",
    ),
    "beale": Surface(
        beale,
        start=(1.0, 1.0),
        minima=((3.0, 0.5),),
        x=(-0.5, 4.5),
        y=(-1.5, 1.5),
        title="Beale 1958",
        formula=r"f = (1.5 - x + xy)^2 + (2.25 - x + xy^2)^2 + (2.625 - x + xy^3)^2",
    ),
    "rosenbrock": Surface(
        rosenbrock,
        start=(-1.2, 1.0),
        minima=((1.0, 1.0),),
        x=(-2.0, 2.0),
        y=(-1.0, 3.0),
        title="Rosenbrock 1960",
        formula=r"f = (1 - x)^2 + 100\,(y - x^2)^2",
    ),
}
