"""Transformations that optax lacks, or defines differently from the literature."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class SumOfSquares(NamedTuple):
    """The state of Adagrad: the sum of squared gradients of each parameter."""

    sums: Any


def scale_by_sum_of_squares(eps: float) -> optax.GradientTransformation:
    """G ← G + g²; g/(√G + ε): Duchi et al. 2011, as torch.optim.Adagrad.

    optax.scale_by_rss has ε inside the root, and returns 0 where G is 0.
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
    """The state of look-ahead: number of updates, slow weights, state of the inner optimizer."""

    count: jax.Array
    slow: Any
    inner: optax.OptState


def _towards(old, new, share):
    return old + jnp.asarray(share, old.dtype) * (new - old)


def lookahead(
    tx: optax.GradientTransformation, period: int, step_size: float
) -> optax.GradientTransformationExtraArgs:
    """Every `period` updates, slow ← slow + step_size·(fast − slow), fast ← slow: look-ahead.

    Zhang et al. 2019. The parameters are the fast weights; the slow weights are in the state.
    optax.lookahead replaces the parameters by a pair of both, which all code that reads parameters
    would have to handle.
    """
    tx = optax.with_extra_args_support(tx)

    def init(params):
        slow = jax.tree.map(jnp.copy, params)  # the state is donated, so no array may occur twice
        return Lookahead(jnp.zeros((), jnp.int32), slow, tx.init(params))

    def update(grads, state, params, **extra):
        updates, inner = tx.update(grads, state.inner, params, **extra)
        count = state.count + 1
        due = count % period == 0
        fast = optax.apply_updates(params, updates)
        slow = jax.tree.map(  # unchanged weights stay bit-identical
            lambda old, new: jnp.where(due, _towards(old, new, step_size), old), state.slow, fast
        )
        updates = jax.tree.map(
            lambda to, now, update: jnp.where(due, to - now, update), slow, params, updates
        )
        return updates, Lookahead(count, slow, inner)

    return optax.GradientTransformationExtraArgs(init, update)
