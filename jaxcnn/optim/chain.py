"""The optimizer of a run: the one a config names, with its schedule, groups and look-ahead."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
import optax.contrib as contrib

from jaxcnn.errors import UserError
from jaxcnn.optim.averaging import Averaging
from jaxcnn.optim.groups import ParameterGroups
from jaxcnn.optim.optimizers import MASKS, OPTIMIZERS
from jaxcnn.optim.schedule import Schedule
from jaxcnn.optim.transformations import Lookahead, lookahead

_AVERAGING_BY_THEMSELVES = ("schedule_free_sgd", "schedule_free_adamw")
_AROUND = ("clip_norm", "clip_value", "lookahead_period", "lookahead_step_size")


class OptimizerState(NamedTuple):
    """The state of an optimizer, and the hyperparameters of its last update.

    `inner.hyperparams` contains the values used by the last update, including the learning rate,
    which is `peak` · the schedule's factor · `scale`. All are scalars. `scale` is the factor of
    `reduce_on_plateau`, and may be changed between updates.
    """

    peak: jax.Array
    scale: jax.Array
    inner: optax.InjectStatefulHyperparamsState


class Optimizer(flax.struct.PyTreeNode):
    """An optimizer as a pytree: the structure determines the program, the leaves are numbers.

    Optimizers that differ only in numbers share a compiled program, and a leaf may contain one
    value for each of several trials. `init` and `update` are those of an optax transformation.
    """

    name: str = flax.struct.field(pytree_node=False)
    choices: tuple[tuple[str, Any], ...] = flax.struct.field(pytree_node=False)
    numbers: dict[str, Any]  # numeric settings; 'learning_rate' is the peak
    schedule: Schedule
    scheduled_momentum: str | None = flax.struct.field(pytree_node=False, default=None)
    groups: ParameterGroups | None = None
    lookahead_period: int = flax.struct.field(pytree_node=False, default=0)
    lookahead_step_size: Any = 0.5

    def init(self, params) -> OptimizerState:
        inner = self._transformation(params).init(params)
        scale = jnp.ones((), inner.hyperparams["learning_rate"].dtype)
        return self._scheduled(OptimizerState(scale, scale, inner))

    def update(self, grads, state: OptimizerState, params, **extra) -> tuple[Any, OptimizerState]:
        """The updates to add to the parameters, and the new state.

        Args:
          extra: for the optimizers that use them, `value` (the loss), `obj_fn` (parameters → loss)
            and `grad_fn` (parameters, number → gradient).
        """
        state = self._scheduled(state)
        updates, inner = self._transformation(params).update(grads, state.inner, params, **extra)
        return updates, state._replace(inner=inner)

    def _scheduled(self, state: OptimizerState) -> OptimizerState:
        """The state with the hyperparameters for the next update."""
        step, inner = state.inner.count, state.inner
        peak = jnp.asarray(self.numbers["learning_rate"], state.scale.dtype)
        used = {**self.numbers, "learning_rate": peak * state.scale * self.schedule.factor(step)}
        if self.schedule.momentum:
            used[self.scheduled_momentum] = self.schedule.momentum(step)
        hyperparams = {
            key: jnp.asarray(used[key], value.dtype) for key, value in inner.hyperparams.items()
        }
        return state._replace(peak=peak, inner=inner._replace(hyperparams=hyperparams))

    def _transformation(self, params) -> optax.GradientTransformationExtraArgs:
        """The optax transformation for these parameters; its state has the current settings."""
        constructor = OPTIMIZERS[self.name]
        parameters = inspect.signature(constructor).parameters
        single = {key: value for key, value in self.numbers.items() if not _is_several(value)}
        fixed = {**dict(self.choices), **{k: v for k, v in self.numbers.items() if k not in single}}
        if self.groups:
            mask = self.groups.decay_mask(params)
            fixed |= {key: mask for key in MASKS if key in parameters}

        @functools.wraps(constructor)
        def put_together(**hyperparams):
            tx = constructor(**hyperparams, **fixed)
            if self.groups and not self.groups.uniform:
                tx = optax.chain(tx, optax.stateless(lambda u, _: self.groups.scaled(u)))
            if self.lookahead_period:
                return lookahead(tx, self.lookahead_period, self.lookahead_step_size)
            return tx

        # `inject_hyperparams` reads the signature; only the numbers are injected.
        keyword = inspect.Parameter.KEYWORD_ONLY
        put_together.__signature__ = inspect.Signature(
            [inspect.Parameter(key, keyword) for key in single]
        )
        return optax.inject_hyperparams(put_together)(**single)


def _is_several(value: Any) -> bool:
    return isinstance(value, tuple | list)


def _is_number(value: Any) -> bool:
    if _is_several(value):
        return all(map(_is_number, value))
    return isinstance(value, float)


def create_optimizer(
    settings: Mapping, schedule: Schedule, groups: ParameterGroups | None = None
) -> Optimizer:
    """Builds the optimizer that a config's `optimizer` section describes.

    Args:
      settings: `name`, `learning_rate`, and the other settings of the optimizer and of look-ahead.
      groups: which parameters decay, are frozen or have a separate learning rate; None: all decay
        and have the same learning rate.

    Raises:
      UserError: the optimizer or a setting does not exist, or settings are mutually exclusive.
    """
    chosen = {key: value for key, value in settings.items() if key not in _AROUND}
    name = chosen.pop("name")
    period = settings.get("lookahead_period", 0)
    OPTIMIZERS.constructor(name, chosen)
    if name in _AVERAGING_BY_THEMSELVES:
        _refuse_around(name, period, groups)
    numbers = {"learning_rate": chosen.pop("learning_rate")}
    numbers |= {key: value for key, value in chosen.items() if _is_number(value)}
    return Optimizer(
        name=name,
        choices=tuple(item for item in chosen.items() if item[0] not in numbers),
        numbers=numbers,
        schedule=schedule.traced(),
        scheduled_momentum=check_momentum(settings, schedule),
        groups=groups,
        lookahead_period=period,
        lookahead_step_size=settings.get("lookahead_step_size", 0.5),
    )


def _refuse_around(name: str, period: int, groups: ParameterGroups | None) -> None:
    """Refuses look-ahead and learning-rate multipliers around a schedule-free optimizer.

    Its evaluation weights are computed from its last update, which these would change.
    """
    if period:
        raise UserError(
            f"config.optimizer.lookahead_period={period}: optimizer '{name}' already averages; "
            "set 0"
        )
    if groups and groups.multipliers:
        raise UserError(
            f"config.parameters.learning_rates: not possible with optimizer '{name}', whose "
            "averages depend on a single learning rate; parameters can be frozen"
        )


def check_momentum(settings: Mapping, schedule: Schedule) -> str | None:
    """The optimizer setting that a momentum schedule controls; None without such a schedule.

    Raises:
      UserError: the schedule controls the momentum, but the optimizer has none that can change.
    """
    if schedule.momentum is None:
        return None
    name = next((key for key in ("momentum", "b1") if key in settings), None)
    if name is None or settings["name"] in _AVERAGING_BY_THEMSELVES:
        raise UserError(
            f"this schedule also changes the momentum, but optimizer '{settings['name']}' has none "
            "that can change; config.schedule.cycle_momentum=False keeps it constant"
        )
    return name


def takes_mask(name: str) -> bool:
    """Whether an optimizer can restrict its weight decay to `config.parameters.decayed`."""
    return bool(set(MASKS) & set(inspect.signature(OPTIMIZERS[name]).parameters))


def check_averages(settings: Mapping, averaging: Averaging) -> None:
    """Refuses weight averaging on top of an optimizer that already averages.

    Raises:
      UserError: both the optimizer and the config's `averaging` average the weights.
    """
    if averaging.share and settings["name"] in _AVERAGING_BY_THEMSELVES:
        raise UserError(
            f"config.averaging.name: optimizer '{settings['name']}' already averages; set 'none'"
        )


class Clipping(flax.struct.PyTreeNode):
    """Gradient clipping: each entry to ± `value`, then the global norm to `norm`; None: off."""

    value: Any = None
    norm: Any = None

    def __call__(self, grads):
        for limit, clip in ((self.value, optax.clip), (self.norm, optax.clip_by_global_norm)):
            if limit is not None:
                grads, _ = clip(limit).update(grads, optax.EmptyState())
        return grads


def gradient_clipping(settings: Mapping) -> Clipping:
    """The clipping of a config's `optimizer` section, where 0 means off."""
    return Clipping(settings.get("clip_value", 0) or None, settings.get("clip_norm", 0) or None)


# --- read from the state ------------------------------------------------------------------------


def hyperparameters(opt_state: OptimizerState) -> dict[str, jax.Array]:
    """The numeric settings used by the last update, by name: scalars, on the device."""
    return opt_state.inner.hyperparams


def averages_by_itself(opt_state: optax.OptState) -> bool:
    """Whether the evaluation parameters are in the optimizer's state."""
    return any(isinstance(state, _AVERAGING_STATES) for state in _states(opt_state))


def evaluation_params(opt_state: optax.OptState, params):
    """The parameters for evaluation: the average of an optimizer that averages, else `params`."""
    for state in _states(opt_state):
        if isinstance(state, contrib.ScheduleFreeState):
            averages = contrib.schedule_free_eval_params(state, params)
            return jax.tree.map(  # frozen parameters stay bit-identical
                lambda y, z, x: jnp.where(y == z, y, x), params, state.z, averages
            )
        if isinstance(state, Lookahead):
            return state.slow
    return params


_AVERAGING_STATES = (contrib.ScheduleFreeState, Lookahead)


def _states(opt_state: optax.OptState) -> list:
    return jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, _AVERAGING_STATES))
