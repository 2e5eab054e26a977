"""Activations by name: the functions of `jax.nn`, except ReLU, which has a faster form here."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxcnn.errors import check_choice


@jax.custom_jvp
def relu(x: jax.Array) -> jax.Array:
    """max(x, 0), with the gradient 0 at 0, as `jax.nn.relu`; of the same shape and dtype.

    XLA's CPU backend recomputes cheap operations wherever their result is read. With `maximum`, it
    computes the normalisations and additions before a ReLU up to six times a step; with a selection,
    once. The gradient depends on the output alone, so the input need not be kept.
    """
    return jnp.where(x < 0, jnp.zeros_like(x), x)


relu.defjvps(lambda tangent, y, x: jnp.where(y > 0, tangent, jnp.zeros_like(tangent)))

_OF_JAX = (
    "celu", "elu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "identity", "leaky_relu",
    "log_sigmoid", "mish", "relu6", "selu", "sigmoid", "silu", "soft_sign", "softplus", "sparse_plus",
    "sparse_sigmoid", "squareplus", "swish", "tanh",
)  # fmt: skip

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    **{name: getattr(jax.nn, name) for name in _OF_JAX},
    "relu": relu,
    # Hendrycks & Gimpel 2016: x·Φ(x), and their approximation of it by tanh
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
}

# Those that never fall, so that they commute with a maximum.
RISING = frozenset(
    {
        "celu", "elu", "hard_sigmoid", "hard_tanh", "identity", "leaky_relu", "log_sigmoid", "relu",
        "relu6", "selu", "sigmoid", "soft_sign", "softplus", "sparse_plus", "sparse_sigmoid",
        "squareplus", "tanh",
    }
)  # fmt: skip


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """The activation of that name; it keeps shape and dtype.

    Raises:
      UserError: there is none.
    """
    check_choice("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
