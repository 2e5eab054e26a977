"""The train state: everything that a training step updates."""

import math
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.layout import Layout
from jaxcnn.models.classifier import Classifier
from jaxcnn.optim.averaging import Averaging
from jaxcnn.optim.chain import averages_by_itself, evaluation_params
from jaxcnn.programs import made_once
from jaxcnn.train.recipe import Recipe

_KERNELS_AT_ONCE = 300


class TrainState(flax.struct.PyTreeNode):
    """The state of a run; together with the config, its checkpoint suffices to resume."""

    step: jax.Array  # int32 scalar, number of updates
    params: Any
    batch_stats: Any  # running statistics of batch normalisation; {} without it
    opt_state: optax.OptState
    rng: jax.Array  # base random key; each step folds in `step`
    averaged_params: Any = None  # if the recipe averages
    eval_batch_stats: Any = None  # if evaluation does not use the running statistics

    def count_parameters(self) -> int:
        """The number of model parameters."""
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.params))

    def averaged(self, averaging: Averaging) -> "TrainState":
        """This state with its averages updated; called after each step."""
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
    """The evaluation variables {'params', 'batch_stats'}: the averages, if any."""
    params, batch_stats = state.averaged_params, state.eval_batch_stats
    if params is None:
        params = evaluation_params(state.opt_state, state.params)
    return {
        "params": params,
        "batch_stats": state.batch_stats if batch_stats is None else batch_stats,
    }


def evaluation_parts(state: TrainState) -> dict[str, Any]:
    """The fields that `evaluation_variables` needs; the optimizer state only if necessary."""
    parts = {"params": state.params, "batch_stats": state.batch_stats}
    if state.averaged_params is not None:
        parts["averaged_params"] = state.averaged_params
    elif averages_by_itself(state.opt_state):
        parts["opt_state"] = state.opt_state
    if state.eval_batch_stats is not None:
        parts["eval_batch_stats"] = state.eval_batch_stats
    return parts


def non_finite(state: TrainState) -> str | None:
    """The path of the first weight, statistic or average with NaN or infinity; None if all are finite.

    Checks what this process's devices hold, on the host: a program that reads the hundreds of arrays of
    a deep network takes a minute to compile.
    """
    evaluated = evaluation_parts(state)
    evaluated.pop("opt_state", None)
    for path, leaf in jax.tree_util.tree_leaves_with_path(evaluated):
        parts = {str(shard.index): shard.data for shard in leaf.addressable_shards}
        if not all(np.isfinite(jax.device_get(part)).all() for part in parts.values()):
            return jax.tree_util.keystr(path, simple=True, separator="/")
    return None


def init_state(
    model: Classifier,
    recipe: Recipe,
    image_shape: tuple[int, int, int],
    seed: int,
    layout: Layout,
    pretrained: Mapping | None = None,
) -> TrainState:
    """Initialises the state directly on the devices, without copying from one to the others.

    Very deep models are the exception: a program that draws a thousand kernels takes ten minutes to
    compile, so these kernels are drawn one by one, with one small program for each shape.

    Args:
      image_shape: (height, width, channels).
      pretrained: {'params': …, 'batch_stats': …}, on the host, values that replace random ones;
        variables may be missing.
    """
    init = _initializer(model, image_shape)
    key, pretrained = jax.random.key(seed), pretrained or {}
    shapes = jax.eval_shape(init, key, pretrained, recipe)
    shardings = layout.of_state(shapes)
    kernels = [leaf for leaf in jax.tree.leaves(shapes.params) if leaf.ndim > 1]
    if len(kernels) > _KERNELS_AT_ONCE:
        return jax.device_put(init(key, pretrained, recipe), shardings)
    # Threefry's code is long; with less optimisation it compiles in a third of the time, to the
    # same bits.
    options = {"xla_backend_optimization_level": 1} if layout.platform == "cpu" else None
    compiled = jax.jit(init, out_shardings=shardings, compiler_options=options)
    return compiled(key, pretrained, recipe)


def abstract_state(
    model: Classifier, recipe: Recipe, image_shape: tuple[int, int, int], layout: Layout
) -> TrainState:
    """The shapes, dtypes and shardings of the state, without computing it."""
    shapes = jax.eval_shape(_initializer(model, image_shape), jax.random.key(0), {}, recipe)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        layout.of_state(shapes),
    )


@made_once
def _initializer(model: Classifier, image_shape: tuple[int, int, int]):
    def init(key: jax.Array, pretrained: Mapping, recipe: Recipe) -> TrainState:
        params_key, state_key = jax.random.split(key)
        images = jnp.zeros((1, *image_shape), model.dtype)
        variables = flatten_dict(model.init(params_key, images, train=False))
        for path, value in flatten_dict(pretrained).items():
            variables[path] = value.astype(variables[path].dtype)
        variables = unflatten_dict(variables)
        params = variables["params"]
        # Linen makes these float32, whatever the dtype of the parameters.
        batch_stats = jax.tree.map(
            lambda leaf: leaf.astype(model.param_dtype), variables.get("batch_stats", {})
        )

        def copy(tree):  # the state is donated, so no array may occur twice
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
