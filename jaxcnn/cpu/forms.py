"""Chooses the implementation of a layer to trace: XLA's, or the one that is faster on a CPU."""

from contextlib import AbstractContextManager

import jax
import jax.numpy as jnp

# A part of the key of each of JAX's caches, so that no trace for one platform serves another.
# None: the default backend's.
_platform = jax.make_user_context(None)
_PLAIN = "plain"


def forms_for(platform: str) -> AbstractContextManager[None]:
    """A context in which layers are traced for a platform: 'cpu', 'gpu' or 'tpu'.

    It need not be the platform of this machine: a program is also compiled for others.
    """
    return _platform(None if platform == jax.default_backend() else platform)


def plain_forms() -> AbstractContextManager[None]:
    """A context in which every layer is traced as XLA's operation, whatever the platform.

    For programs that are inspected or differentiated twice.
    """
    return _platform(_PLAIN)


def use_cpu_forms() -> bool:
    """Whether layers should use the implementations that are faster on a CPU."""
    return (_platform.value or jax.default_backend()) == "cpu"


def use_accelerator_forms() -> bool:
    """Whether layers should use the implementations that move fewer bytes on a GPU or TPU."""
    return (_platform.value or jax.default_backend()) not in ("cpu", _PLAIN)


def computed_once(x: jax.Array) -> jax.Array:
    """The identity, with an identity gradient, both of which XLA's CPU backend then computes once.

    XLA recomputes a sum wherever it is read; in a residual network each block would recompute the
    sums of all blocks before it. XLA stores the result of a `where`, even one that never selects.
    """
    return _selected(x) if use_cpu_forms() else x


@jax.custom_vjp
def _selected(x: jax.Array) -> jax.Array:
    return jnp.where(x < -jnp.inf, jnp.zeros_like(x), x)


_selected.defvjp(lambda x: (_selected(x), None), lambda _, gradient: (_selected(gradient),))
