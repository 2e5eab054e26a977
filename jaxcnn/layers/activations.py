"""Activations by name: the functions of `jax.nn`, and tanh."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError, suggestion

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
}


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """The activation of that name; it keeps shape and dtype.

    Raises:
      UserError: there is none.
    """
    if name not in ACTIVATIONS:
        raise UserError(f"activation '{name}' does not exist; {suggestion(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]
