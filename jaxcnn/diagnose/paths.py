"""The paths of optimizers on test functions of two numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxcnn.config import default_config
from jaxcnn.diagnose.surfaces import Surface
from jaxcnn.durations import RunLength
from jaxcnn.errors import UserError
from jaxcnn.optim.chain import create_optimizer, evaluation_params, gradient_clipping
from jaxcnn.optim.optimizers import OPTIMIZERS
from jaxcnn.optim.schedules import create_schedule
from jaxcnn.plots.paths import SMALLEST, Path, Terrain, draw_paths
from jaxcnn.train.experiment import resolve

# The learning rates that are tried.
RATES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4, 3e-5, 1e-5)
CLOSE = 1e-6  # a value that counts as that of the minimum

# What treats matrices in its own way, and all else as another optimizer does.
_OF_MATRICES = {"lars": "momentum", "muon": "nadam"}


@dataclass(frozen=True)
class OptimizerPath:
    """Where an optimizer goes.

    Attributes:
      optimizer: its name.
      rate: the learning rate.
      given: whether the rate was given; else it is the best of `RATES`.
      points: (steps + 1, 2) float64, of the start and after each step, as a run would evaluate them:
        for an optimizer that averages, the averages.
      values: (steps + 1,) float64, of the function there.
      left: the step at which the path leaves the picture for good; None if it ends in it.
    """

    optimizer: str
    rate: float
    given: bool
    points: np.ndarray
    values: np.ndarray
    left: int | None

    @property
    def rate_in_words(self) -> str:
        """The learning rate, and whether it was given."""
        return f"rate {self.rate:g}{' (given)' if self.given else ''}"

    @property
    def outcome(self) -> str:
        """The value reached, or the step at which the path leaves the picture."""
        if self.left is not None:
            return f"leaves the picture at step {self.left}"
        value = self.values[-1]
        return f"f = {value:.1e}" if value >= SMALLEST else f"f < {SMALLEST:g}"


def paths_on(
    surface: Surface, optimizers: Sequence[str], overrides: Mapping[str, str], steps: int
) -> list[OptimizerPath]:
    """The path of each optimizer, at its best rate or the one that is set for it.

    The best of `RATES` is the one with which the value is at most `CLOSE`, and stays so, after the
    fewest steps; if none gets there, the one with the smallest value after the last step. Rates whose
    path leaves the picture are chosen only if all do.

    Args:
      optimizers: names.
      overrides: as on the command line: {"adam.b1": "0.8"}.

    Raises:
      UserError: an optimizer or a setting does not exist, or a value is not allowed; an optimizer is
        named twice; it is one for matrices.
    """
    own = {name: {} for name in optimizers}
    for dotted, text in overrides.items():
        name, _, key = dotted.partition(".")
        if name not in own or key in ("", "name"):
            raise UserError(
                f"optimizer.{dotted}={text} must be optimizer.NAME.KEY, with NAME one of "
                f"{', '.join(own)}, and KEY one of its settings"
            )
        own[name][key] = text
    if len(own) < len(optimizers):
        raise UserError(f"optimizers={','.join(optimizers)} names one twice")
    found = []
    for name in optimizers:
        settings, given = settings_of(name, own[name]), "learning_rate" in own[name]
        rates = (settings["learning_rate"],) if given else RATES
        found.append(_best(surface, name, given, rates, *_walk(surface, settings, rates, steps)))
    return found


def picture_of(
    surface: Surface, paths: Sequence[OptimizerPath]
) -> tuple[Figure, Callable[[int], list[Line2D]]]:
    """The paths on their function, as `draw_paths` returns them; one that leaves ends where it does."""
    x, y = (np.linspace(*ends, 240) for ends in (surface.x, surface.y))
    heights = surface.function(np.stack(np.meshgrid(x, y)))
    drawn = []
    for path in paths:
        end = None if path.left is None else path.left + 1
        label = f"{path.optimizer}, {path.rate_in_words}: {path.outcome}"
        drawn.append(Path(path.points[:end], path.values[:end], label))
    return draw_paths(
        Terrain(x, y, heights, np.array(surface.start), np.array(surface.minima)),
        drawn,
        f"{surface.title}:   ${surface.formula}$",
        rule_in_words(paths),
    )


def rule_in_words(paths: Sequence[OptimizerPath]) -> str:
    """Where the rates are from."""
    given = [path.given for path in paths]
    rates = f"{', '.join(f'{rate:g}' for rate in RATES[:4])}, …, {RATES[-1]:g}"
    rule = f"each at its best rate of {rates}"
    return "" if all(given) else f"{rule}, unless given" if any(given) else rule


def settings_of(name: str, overrides: Mapping[str, str]) -> dict:
    """The `optimizer` section of a run's config with this optimizer and these settings.

    Raises:
      UserError: as `paths_on`.
    """
    OPTIMIZERS[name]  # or an error without the config's part
    if name in _OF_MATRICES:
        raise UserError(
            f"optimizers={name}: it is made for matrices; for a point of the plane it would be "
            f"{_OF_MATRICES[name]}"
        )
    changed = {f"optimizer.{key}": text for key, text in overrides.items()}
    try:
        config = resolve(default_config(), {"optimizer.name": name, **changed})
    except UserError as error:
        raise UserError(str(error).replace("config.optimizer", f"optimizer.{name}")) from None
    return config.optimizer.to_dict()


def _walk(
    surface: Surface, settings: Mapping, rates: Sequence[float], steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points (rates, steps + 1, 2) and values (rates, steps + 1), by the updates of train/step.py."""
    schedule = create_schedule({"name": "constant", "warmup": ""}, RunLength(1, 1, steps))
    optimizer, clipping = create_optimizer(settings, schedule), gradient_clipping(settings)
    value_and_gradient = jax.value_and_grad(surface.function)

    def path(rate):
        tx = optimizer.replace(numbers={**optimizer.numbers, "learning_rate": rate})

        def step(before, _):
            point, state = before
            value, gradient = value_and_gradient(point)
            updates, state = tx.update(
                clipping(gradient),
                state,
                point,
                value=value,
                obj_fn=surface.function,
                grad_fn=lambda point, _: clipping(jax.grad(surface.function)(point)),
            )
            point = optax.apply_updates(point, updates)
            return (point, state), evaluation_params(state, point)

        start = jnp.array(surface.start)
        _, points = jax.lax.scan(step, (start, tx.init(start)), length=steps)
        points = jnp.concatenate([start[None], points])
        return points, jax.vmap(surface.function)(points)

    with jax.enable_x64(True):
        points, values = jax.jit(jax.vmap(path))(jnp.array(rates))
    return np.asarray(points), np.asarray(values)


def _best(
    surface: Surface,
    name: str,
    given: bool,
    rates: Sequence[float],
    points: np.ndarray,
    values: np.ndarray,
) -> OptimizerPath:
    (left, right), (bottom, top) = surface.x, surface.y
    x, y = points[..., 0], points[..., 1]
    inside = (left <= x) & (x <= right) & (bottom <= y) & (y <= top)  # False for NaN
    heights = np.where(np.isnan(values), np.inf, values)
    steps_to_minimum = _length_until_last(heights > CLOSE)
    ranks = list(zip(~inside.all(axis=1), steps_to_minimum, heights[:, -1], strict=True))
    best = ranks.index(min(ranks))
    left_at = None if inside[best, -1] else int(_length_until_last(inside)[best])
    return OptimizerPath(name, rates[best], given, points[best], values[best], left_at)


def _length_until_last(true: np.ndarray) -> np.ndarray:
    """For each row, the position after the last True; 0 if there is none."""
    return np.where(true.any(axis=1), true.shape[1] - true[:, ::-1].argmax(axis=1), 0)
