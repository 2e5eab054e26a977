"""Everything that a step changes."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import NamedSharding


class TrainState(flax.struct.PyTreeNode):
    """The state of a run. A checkpoint of it, and the config, are all that a resume needs."""

    step: jax.Array  # int32 scalar: updates done
    params: Any
    batch_stats: Any  # running averages of batch normalisation; {} for a model without
    opt_state: optax.OptState
    rng: jax.Array  # a key; the step's own is folded from it and `step`


def init_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    seed: int,
    sharding: NamedSharding,
    pretrained: Mapping | None = None,
) -> TrainState:
    """Initialises on the devices, in place: nothing random is first built on one and then copied.

    Args:
      pretrained: {'params': …, 'batch_stats': …}, on the host: what begins with these values in place
        of random ones; it may leave variables out.
    """
    # Threefry's code is long; optimised less, it compiles in a third of the time, to the same bits.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    init = jax.jit(
        _initializer(model, tx, image_shape), out_shardings=sharding, compiler_options=options
    )
    return init(jax.random.key(seed), pretrained or {})


def abstract_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    sharding: NamedSharding,
) -> TrainState:
    """The state's shapes, dtypes and sharding, without its numbers."""
    shapes = jax.eval_shape(_initializer(model, tx, image_shape), jax.random.key(0), {})
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )


def _initializer(model, tx, image_shape):
    def init(key: jax.Array, pretrained: Mapping) -> TrainState:
        params_key, state_key = jax.random.split(key)
        images = jnp.zeros((1, *image_shape), model.dtype)
        variables = flatten_dict(model.init(params_key, images, train=False))
        for path, value in flatten_dict(pretrained).items():
            variables[path] = value.astype(variables[path].dtype)
        variables = unflatten_dict(variables)
        params = variables["params"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            # Linen makes these float32 whatever the parameters are.
            batch_stats=jax.tree.map(
                lambda leaf: leaf.astype(model.param_dtype), variables.get("batch_stats", {})
            ),
            opt_state=tx.init(params),
            rng=state_key,
        )

    return init
