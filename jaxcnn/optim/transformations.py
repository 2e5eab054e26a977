"""What optax lacks, or defines otherwise than the field does."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcnn.optim.schedules import Schedule


class SumOfSquares(NamedTuple):
    """The state of Adagrad: for each parameter, the sum of all its squared gradients."""

    sums: Any


def scale_by_sum_of_squares(eps: float) -> optax.GradientTransformation:
    """G ← G + g²; g/(√G + ε): Duchi et al. 2011, as torch.optim.Adagrad.

    optax.scale_by_rss has ε under the root, and does nothing where G is 0.
    """

    def init(params):
        return SumOfSquares(optax.tree.zeros_like(params))

    def update(grads, state, params=None):
        del params
        sums = jax.tree.map(lambda total, g: total + g**2, state.sums, grads)
        return jax.tree.map(lambda g, total: g / (jnp.sqrt(total) + eps), grads, sums), (
            SumOfSquares(sums)
        )

    return optax.GradientTransformation(init, update)


class Lookahead(NamedTuple):
    """The state of look-ahead: updates done, the slow weights, and the state of what is around."""

    count: jax.Array
    slow: Any
    inner: optax.OptState


def lookahead(
    tx: optax.GradientTransformation, period: int, step_size: float
) -> optax.GradientTransformationExtraArgs:
    """Every `period` updates, slow ← slow + step_size·(fast − slow), fast ← slow; Zhang et al. 2019.

    The parameters are the fast weights, the slow ones are in the state. optax.lookahead wants a pair of
    both in place of the parameters, and all that reads parameters would have to know of it.
    """
    tx = optax.with_extra_args_support(tx)

    def init(params):
        slow = jax.tree.map(jnp.copy, params)  # the state is donated, and holds no array twice
        return Lookahead(jnp.zeros((), jnp.int32), slow, tx.init(params))

    def update(grads, state, params, **extra):
        updates, inner = tx.update(grads, state.inner, params, **extra)
        count = state.count + 1
        due = count % period == 0
        fast = optax.apply_updates(params, updates)
        slow = jax.tree.map(  # what did not move stays where it is, to the bit
            lambda old, new: jnp.where(due, old + step_size * (new - old), old), state.slow, fast
        )
        updates = jax.tree.map(
            lambda to, now, own: jnp.where(due, to - now, own), slow, params, updates
        )
        return updates, Lookahead(count, slow, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def scale_each(multipliers) -> optax.GradientTransformation:
    """Updates × a number for each parameter; 0 leaves a parameter as it is, whatever its update."""

    def scale(updates):
        return jax.tree.map(
            lambda update, multiplier: (
                update * multiplier if multiplier else jnp.zeros_like(update)
            ),
            updates,
            multipliers,
        )

    return optax.stateless(lambda updates, params: scale(updates))


class Scheduled(NamedTuple):
    """The state of an optimizer and of what moves its learning rate; any number in it may be changed.

    `inner.hyperparams` holds the settings as the last update used them, the learning rate among them,
    which is `peak` · the schedule's factor · `scale`.
    """

    peak: jax.Array
    scale: jax.Array
    inner: optax.InjectStatefulHyperparamsState


def scheduled(
    tx: optax.GradientTransformationExtraArgs,
    peak: float,
    schedule: Schedule,
    momentum: str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Moves the learning rate, and the setting named `momentum`, of an `optax.inject_hyperparams`."""

    def as_used(hyperparams: dict, step, peak, scale) -> dict:
        used = {"learning_rate": peak * scale * schedule.factor(step)}
        if schedule.momentum:
            used[momentum] = schedule.momentum(step)
        return {
            key: jnp.asarray(used.get(key, value), value.dtype)
            for key, value in hyperparams.items()
        }

    def init(params):
        inner = tx.init(params)
        dtype = inner.hyperparams["learning_rate"].dtype
        peak_now, scale = jnp.asarray(peak, dtype), jnp.ones((), dtype)
        first = as_used(inner.hyperparams, inner.count, peak_now, scale)
        return Scheduled(peak_now, scale, inner._replace(hyperparams=first))

    def update(grads, state, params=None, **extra):
        hyperparams = as_used(state.inner.hyperparams, state.inner.count, state.peak, state.scale)
        inner = state.inner._replace(hyperparams=hyperparams)
        updates, inner = tx.update(grads, inner, params, **extra)
        return updates, state._replace(inner=inner)

    return optax.GradientTransformationExtraArgs(init, update)
