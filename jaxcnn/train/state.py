"""Everything that a step changes."""

import math
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.layout import Layout
from jaxcnn.models.classifier import Classifier
from jaxcnn.optim.averaging import Averaging
from jaxcnn.optim.chain import averages_by_itself, evaluation_params
from jaxcnn.train.recipe import Recipe

_KERNELS_AT_ONCE = 300


class TrainState(flax.struct.PyTreeNode):
    """The state of a run. A checkpoint of it, and the config, are all that a resume needs."""

    step: jax.Array  # int32 scalar: updates done
    params: Any
    batch_stats: Any  # running averages of batch normalisation; {} for a model without
    opt_state: optax.OptState
    rng: jax.Array  # a key; the step's own is folded from it and `step`
    averaged_params: Any = None  # where the recipe averages
    eval_batch_stats: Any = None  # where evaluation does not use the running averages

    def averaged(self, averaging: Averaging) -> "TrainState":
        """This state after an update, its averages brought up to it."""
        changed = {}
        if averaging.share:
            changed["averaged_params"] = averaging.update(
                self.averaged_params, self.params, self.step
            )
        if averaging.batch_stats == "averaged":
            changed["eval_batch_stats"] = averaging.update(
                self.eval_batch_stats, self.batch_stats, self.step
            )
        return self.replace(**changed)


@jax.jit
def evaluation_variables(state: TrainState) -> dict[str, Any]:
    """{'params', 'batch_stats'} to evaluate with: averages where there are any."""
    params, batch_stats = state.averaged_params, state.eval_batch_stats
    if params is None:
        params = evaluation_params(state.opt_state, state.params)
    return {
        "params": params,
        "batch_stats": state.batch_stats if batch_stats is None else batch_stats,
    }


def evaluation_parts(state: TrainState) -> dict[str, Any]:
    """The fields that `evaluation_variables` needs: without the optimizer's state, if it can be."""
    parts = {"params": state.params, "batch_stats": state.batch_stats}
    if state.averaged_params is not None:
        parts["averaged_params"] = state.averaged_params
    elif averages_by_itself(state.opt_state):
        parts["opt_state"] = state.opt_state
    if state.eval_batch_stats is not None:
        parts["eval_batch_stats"] = state.eval_batch_stats
    return parts


def count_parameters(state: TrainState) -> int:
    """How many numbers are trained."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))


def init_state(
    model: Classifier,
    recipe: Recipe,
    image_shape: tuple[int, int, int],
    seed: int,
    layout: Layout,
    pretrained: Mapping | None = None,
) -> TrainState:
    """Initialises on the devices, in place: nothing random is first built on one and then copied.

    The deepest networks are the exception: a program that draws a thousand kernels compiles for ten
    minutes, and one by one they share their programs, by shape.

    Args:
      pretrained: {'params': …, 'batch_stats': …}, on the host: what begins with these values in place
        of random ones; it may leave variables out.
    """
    init = _initializer(model, image_shape)
    key, pretrained = jax.random.key(seed), pretrained or {}
    shapes = jax.eval_shape(init, key, pretrained, recipe)
    shardings = layout.of_state(shapes)
    kernels = [leaf for leaf in jax.tree.leaves(shapes.params) if leaf.ndim > 1]
    if len(kernels) > _KERNELS_AT_ONCE:
        return jax.device_put(init(key, pretrained, recipe), shardings)
    # Threefry's code is long; optimised less, it compiles in a third of the time, to the same bits.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    compiled = jax.jit(init, out_shardings=shardings, compiler_options=options)
    return compiled(key, pretrained, recipe)


def abstract_state(
    model: Classifier, recipe: Recipe, image_shape: tuple[int, int, int], layout: Layout
) -> TrainState:
    """The state's shapes, dtypes and shardings, without its numbers."""
    shapes = jax.eval_shape(_initializer(model, image_shape), jax.random.key(0), {}, recipe)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        layout.of_state(shapes),
    )


def _initializer(model: Classifier, image_shape: tuple[int, int, int]):
    def init(key: jax.Array, pretrained: Mapping, recipe: Recipe) -> TrainState:
        params_key, state_key = jax.random.split(key)
        images = jnp.zeros((1, *image_shape), model.dtype)
        variables = flatten_dict(model.init(params_key, images, train=False))
        for path, value in flatten_dict(pretrained).items():
            variables[path] = value.astype(variables[path].dtype)
        variables = unflatten_dict(variables)
        params = variables["params"]
        # Linen makes these float32 whatever the parameters are.
        batch_stats = jax.tree.map(
            lambda leaf: leaf.astype(model.param_dtype), variables.get("batch_stats", {})
        )

        def copy(tree):  # the state is donated, and holds no array twice
            return jax.tree.map(jnp.copy, tree)

        averaging = recipe.averaging
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=batch_stats,
            opt_state=copy(recipe.optimizer.init(params)),
            rng=state_key,
            averaged_params=copy(params) if averaging.share else None,
            eval_batch_stats=copy(batch_stats) if averaging.batch_stats != "running" else None,
        )

    return init
