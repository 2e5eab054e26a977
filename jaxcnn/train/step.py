"""The pure functions of a training step and an evaluation step."""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jaxcnn.cpu.forms import plain_forms
from jaxcnn.models.classifier import Classifier
from jaxcnn.optim.chain import hyperparameters
from jaxcnn.programs import made_once
from jaxcnn.train.gradient import BatchGradient, batch_gradient
from jaxcnn.train.metrics import Divergence, Means, TrainMetrics
from jaxcnn.train.mixing import mixed
from jaxcnn.train.recipe import Recipe, Scoring
from jaxcnn.train.state import TrainState
from jaxcnn.train.views import with_views

TrainStep = Callable[[TrainState, dict, Recipe], tuple[TrainState, TrainMetrics]]

_MIXING = 2**31 - 1  # not a step number, so never the dropout key of a step


@made_once
def make_train_step(model: Classifier) -> TrainStep:
    """Returns `train_step(state, batch, recipe) → (state, metrics)`, pure and ready to compile.

    `gradient.batch_gradient` defines the objective.
    """

    def train_step(
        state: TrainState, batch: dict, recipe: Recipe
    ) -> tuple[TrainState, TrainMetrics]:
        gradient = gradient_of_step(model, state, batch, recipe)
        (total, (means, batch_stats)), grads = gradient(state.params)

        def value_of(params):
            with plain_forms():  # the CPU forms have no second derivatives
                return gradient(params)[0][0]

        updates, opt_state = recipe.optimizer.update(
            recipe.clipping(grads),
            state.opt_state,
            state.params,
            value=total,
            obj_fn=value_of,
            grad_fn=lambda params, _: recipe.clipping(gradient(params)[1]),
        )
        new_state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        used = hyperparameters(opt_state)
        last_step = {
            "grad_norm": optax.tree.norm(grads),
            **{key: used[key] for key in ("learning_rate", "weight_decay") if key in used},
        }
        finite = jnp.isfinite(total) & jnp.isfinite(last_step["grad_norm"])
        divergence = Divergence.of(new_state.step, finite, used["learning_rate"])
        return new_state.averaged(recipe.averaging), TrainMetrics(means, last_step, divergence)

    return train_step


def gradient_of_step(
    model: Classifier, state: TrainState, batch: dict, recipe: Recipe
) -> BatchGradient:
    """The function from parameters to the objective and its gradient, in the step of a state."""
    return batch_gradient(
        model,
        recipe,
        state.batch_stats,
        mixed_batch(model, state, batch, recipe),
        dropout_key(state),
    )


def dropout_key(state: TrainState) -> jax.Array:
    """The random key of dropout in the step of a state."""
    return jax.random.fold_in(state.rng, state.step)


def mixed_batch(model: Classifier, state: TrainState, batch: dict, recipe: Recipe) -> dict:
    """The batch as the step of a state mixes it."""
    if not recipe.mixes:
        return batch
    mix_key = jax.random.fold_in(jax.random.fold_in(state.rng, _MIXING), state.step)
    return mixed(recipe.mixes, mix_key, batch, model.num_classes)


@made_once
def make_eval_step(model: Classifier, views: str = "") -> Callable[[Mapping, dict, Scoring], Means]:
    """Returns `eval_step(variables, batch, scoring) → metrics`, in evaluation mode.

    Batch normalisation uses the stored statistics, and there is no dropout.

    Args:
      views: a name of `views.VIEWS`, to average class probabilities over its views; or ''.
    """
    answer = partial(model.apply, train=False) if not views else with_views(model, views)

    def eval_step(variables: Mapping, batch: dict, scoring: Scoring) -> Means:
        outputs = answer(variables, batch["image"])
        loss = scoring.loss(outputs, batch["label"], batch["mask"])
        return scoring.means(loss, outputs, batch["label"], batch["mask"])

    return eval_step
