"""Which form of a layer is traced: XLA's own, or the one that is faster on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
import jax.numpy as jnp

_plain = ContextVar("plain", default=False)


@contextmanager
def plain_forms() -> Iterator[None]:
    """Within it every layer is traced as XLA's own operation, on a CPU too: a program to be read."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def use_cpu_forms() -> bool:
    """Whether layers are to take the forms that are faster on a CPU."""
    return jax.default_backend() == "cpu" and not _plain.get()


def computed_once(x: jax.Array) -> jax.Array:
    """x itself, and its gradient itself, which XLA's CPU backend then computes once and keeps.

    It recomputes a sum in each place that reads it: a residual network's sums, each of all before it,
    would be computed anew in every block. A selection it keeps, though this one never selects.
    """
    return _selected(x) if use_cpu_forms() else x


@jax.custom_vjp
def _selected(x: jax.Array) -> jax.Array:
    return jnp.where(x < -jnp.inf, jnp.zeros_like(x), x)


_selected.defvjp(lambda x: (_selected(x), None), lambda _, gradient: (_selected(gradient),))
