"""The optimizer of a run: the one that a config names, and all that goes around it.

Every number among its settings is held in its state (`optax.inject_hyperparams`): what is logged is
what the update used, and it can be changed without compiling anew.
"""

import functools
import inspect
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
import optax.contrib as contrib

from jaxcnn.errors import UserError
from jaxcnn.optim.averaging import Averaging
from jaxcnn.optim.groups import ParameterGroups
from jaxcnn.optim.optimizers import MASKS, OPTIMIZERS
from jaxcnn.optim.schedules import Schedule
from jaxcnn.optim.transformations import Lookahead, Scheduled, lookahead, scale_each, scheduled

_AVERAGING_BY_THEMSELVES = ("schedule_free_sgd", "schedule_free_adamw")


def create_optimizer(
    settings: Mapping, schedule: Schedule, groups: ParameterGroups | None = None
) -> optax.GradientTransformationExtraArgs:
    """Builds the optimizer that a config's `optimizer` section describes.

    Its `update` wants the parameters, and, for the optimizers that use them, `value` (the loss),
    `obj_fn` (parameters → loss) and `grad_fn` (parameters, number → gradient).

    Args:
      settings: `name`, `learning_rate`, the optimizer's own settings, and look-ahead's.
      groups: which parameters decay, are frozen or have a learning rate of their own; None: all decay
        and learn alike.

    Returns:
      A transformation whose state is a `Scheduled`.

    Raises:
      UserError: the optimizer or a setting does not exist, or settings exclude each other.
    """
    own = {key: value for key, value in settings.items() if key not in _AROUND}
    name, peak = own.pop("name"), own.pop("learning_rate")
    period = settings.get("lookahead_period", 0)
    constructor = OPTIMIZERS.constructor(name, own)
    parameters = inspect.signature(constructor).parameters
    multipliers = None if groups is None or groups.uniform else groups.multipliers
    if name in _AVERAGING_BY_THEMSELVES:
        _refuse_around(name, period, multipliers)
    momentum = check_momentum(settings, schedule)
    masks = {key: groups.decayed for key in MASKS if key in parameters} if groups else {}

    @functools.wraps(constructor)
    def put_together(**hyperparams):
        tx = constructor(**hyperparams, **masks)
        if multipliers:
            tx = optax.chain(tx, scale_each(multipliers))
        return lookahead(tx, period, settings["lookahead_step_size"]) if period else tx

    # What is injected: the masks are not.
    put_together.__signature__ = inspect.Signature(
        [parameters[key].replace(kind=_KEYWORD) for key in ("learning_rate", *own)]
    )
    static = [key for key, value in own.items() if not isinstance(value, float)]
    injected = optax.inject_hyperparams(put_together, static)(learning_rate=peak, **own)
    return scheduled(injected, peak, schedule, momentum)


_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_AROUND = ("clip_norm", "clip_value", "lookahead_period", "lookahead_step_size")


def _refuse_around(name: str, period: int, multipliers) -> None:
    """Schedule-free optimizers know where they are evaluated from where their last update went."""
    if period:
        raise UserError(
            f"config.optimizer.lookahead_period={period}: optimizer '{name}' averages by itself; set 0"
        )
    if multipliers and any(m not in (0, 1) for m in jax.tree.leaves(multipliers)):
        raise UserError(
            f"config.parameters.learning_rates: optimizer '{name}' cannot have them, since its "
            "averages hang on its one learning rate; freezing is possible"
        )


def check_momentum(settings: Mapping, schedule: Schedule) -> str | None:
    """The optimizer's setting that a schedule of the momentum moves; None where it moves none.

    Raises:
      UserError: it moves one, and the optimizer has none that may move.
    """
    if schedule.momentum is None:
        return None
    name = next((key for key in ("momentum", "b1") if key in settings), None)
    if name is None or settings["name"] in _AVERAGING_BY_THEMSELVES:
        raise UserError(
            f"this schedule moves the momentum too, and optimizer '{settings['name']}' has none that "
            "may move; config.schedule.cycle_momentum=False leaves it alone"
        )
    return name


def takes_mask(name: str) -> bool:
    """Whether an optimizer's weight decay can be kept to the parameters of `parameters.decayed`."""
    return bool(set(MASKS) & set(inspect.signature(OPTIMIZERS[name]).parameters))


def check_averages(settings: Mapping, averaging: Averaging) -> None:
    """Refuses an average of weights that are no points of a path.

    Raises:
      UserError: the optimizer averages by itself, and the config averages too.
    """
    if averaging.share and settings["name"] in _AVERAGING_BY_THEMSELVES:
        raise UserError(
            f"config.averaging.name: optimizer '{settings['name']}' averages by itself; set 'none'"
        )


NO_CLIPPING = optax.identity()


def gradient_clipping(settings: Mapping) -> optax.GradientTransformation:
    """The clipping of a config's `optimizer` section: first of each entry, then of the global norm."""
    parts = []
    if settings.get("clip_value", 0):
        parts.append(optax.clip(settings["clip_value"]))
    if settings.get("clip_norm", 0):
        parts.append(optax.clip_by_global_norm(settings["clip_norm"]))
    return optax.chain(*parts) if parts else NO_CLIPPING


# --- read from its state ------------------------------------------------------------------------


def hyperparameters(opt_state: Scheduled) -> dict[str, jax.Array]:
    """The settings that are numbers, as the last update used them: scalars, on the device."""
    return opt_state.inner.hyperparams


def evaluation_params(opt_state: optax.OptState, params):
    """The parameters to evaluate with: an optimizer that averages trains at others."""
    special = (contrib.ScheduleFreeState, Lookahead)
    for state in jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, special)):
        if isinstance(state, contrib.ScheduleFreeState):
            averages = contrib.schedule_free_eval_params(state, params)
            return jax.tree.map(  # where they meet, to the bit: what is frozen
                lambda y, z, x: jnp.where(y == z, y, x), params, state.z, averages
            )
        if isinstance(state, Lookahead):
            return state.slow
    return params
