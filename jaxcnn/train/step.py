"""The pure training step and evaluation step."""

from collections.abc import Callable, Mapping
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding

from jaxcnn.cpu.forms import plain_forms
from jaxcnn.optim.chain import hyperparameters
from jaxcnn.train.losses import Loss, l2_penalty
from jaxcnn.train.metrics import Divergence, Means, TrainMetrics
from jaxcnn.train.mixing import mixed
from jaxcnn.train.recipe import Recipe
from jaxcnn.train.state import TrainState
from jaxcnn.train.views import with_views

_MIXING = 2**31 - 1  # no step has this number, whose key dropout might have


def make_train_step(
    model: nn.Module, recipe: Recipe
) -> Callable[[TrainState, dict], tuple[TrainState, TrainMetrics]]:
    """Returns `train_step(state, batch) → (state, metrics)`, pure and ready to be compiled.

    The objective is the mean loss over the batch's real examples, plus `l2_regularization`·½Σw² over
    the parameters that decay, plus `model.aux_weight` times the loss of each auxiliary head. The loss
    that the metrics report leaves the penalty and the auxiliary heads out; where labels are not
    smoothed, it can be held against the validation loss.

    Of several microbatches the gradients are added up, each over the count of the whole batch, so that
    the sum is the gradient of the whole. Batch normalisation sees one microbatch at a time.
    """
    parts = recipe.microbatches

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, TrainMetrics]:
        dropout_key = jax.random.fold_in(state.rng, state.step)
        count = batch["mask"].sum()
        if recipe.mixes:
            mix_key = jax.random.fold_in(jax.random.fold_in(state.rng, _MIXING), state.step)
            batch = mixed(recipe.mixes, mix_key, batch, model.num_classes)

        def objective(params, batch_stats, part, key):
            """A microbatch's share of the objective; what it found beside it."""
            logits, changed = model.apply(
                {
                    "params": recipe.groups.held(params) if recipe.groups else params,
                    "batch_stats": batch_stats,
                },
                part["image"],
                train=True,
                mutable=["batch_stats", "aux_logits"],
                rngs={"dropout": key},
            )
            label, mask = part["label"], part["mask"]
            loss = recipe.loss(logits, label, mask)
            share = loss.summed / count
            for (aux_logits,) in changed.get("aux_logits", {}).values():
                share += model.aux_weight * recipe.loss(aux_logits, label, mask).summed / count
            if recipe.l2_regularization:
                decayed = recipe.groups and recipe.groups.decayed
                share += recipe.l2_regularization * l2_penalty(params, decayed) / parts
            means = recipe.means(loss, logits, label, mask)
            return share, (means, changed.get("batch_stats", {}))

        def whole_gradient(params):
            """((objective, (means, batch statistics)), gradient) of the batch."""
            of_part = jax.value_and_grad(objective, has_aux=True)
            if parts == 1:
                return of_part(params, state.batch_stats, batch, dropout_key)

            def add(carry, numbered_part):
                total, grads, batch_stats = carry
                number, part = numbered_part
                key = jax.random.fold_in(dropout_key, number)
                (share, (means, batch_stats)), own = of_part(params, batch_stats, part, key)
                return (total + share, optax.tree.add(grads, own), batch_stats), means

            # Every parts-th example: each device has as many of a part as of the whole batch.
            split = {
                key: jnp.moveaxis(leaf.reshape(-1, parts, *leaf.shape[1:]), 1, 0)
                for key, leaf in batch.items()
            }
            first = {key: leaf[0] for key, leaf in split.items()}
            (share, _), own = jax.eval_shape(of_part, params, state.batch_stats, first, dropout_key)
            start = (*jax.tree.map(jnp.zeros_like, (share, own)), state.batch_stats)
            (total, grads, batch_stats), means = jax.lax.scan(
                add, start, (jnp.arange(parts), split)
            )
            means = jax.tree.map(lambda leaf: leaf.sum(axis=0), means)  # their totals and counts
            return (total, (means, batch_stats)), grads

        def clipped(grads):
            return recipe.clipping.update(grads, recipe.clipping.init(grads))[0]

        (total, (means, batch_stats)), grads = whole_gradient(state.params)

        def value_of(params):
            with plain_forms():  # for second derivatives, which the CPU's own forms do not have
                return whole_gradient(params)[0][0]

        updates, opt_state = recipe.tx.update(
            clipped(grads),
            state.opt_state,
            state.params,
            value=total,
            obj_fn=value_of,
            grad_fn=lambda params, _: clipped(whole_gradient(params)[1]),
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
        new_state = new_state.averaged(recipe.averaging)
        return new_state, TrainMetrics(means, last_step, divergence)

    return train_step


def compile_step(
    model: nn.Module, recipe: Recipe, state: TrainState, batch: Mapping, replicated: NamedSharding
) -> Callable[[TrainState, dict], tuple[TrainState, TrainMetrics]]:
    """Compiles the training step ahead of time; the state is donated to it.

    Args:
      state: as the step will get it.
      batch: arrays on the devices, or their shapes and shardings.
      replicated: where the state is.
    """
    train_step = make_train_step(model, recipe)
    jitted = jax.jit(train_step, donate_argnums=0, out_shardings=(replicated, None))
    return jitted.lower(state, batch).compile()


def make_eval_step(
    model: nn.Module, loss: Callable[..., Loss], means: Callable[..., Means], views: str = ""
) -> Callable[[Mapping, dict], Means]:
    """Returns `eval_step(variables, batch) → metrics`, with running averages and without dropout.

    Args:
      loss, means: a recipe's `eval_loss` and `means`.
      views: of `views.VIEWS`, those whose probabilities are averaged; or '', the image as it is.
    """
    answer = partial(model.apply, train=False) if not views else with_views(model, views)

    def eval_step(variables: Mapping, batch: dict) -> Means:
        outputs = answer(variables, batch["image"])
        own = loss(outputs, batch["label"], batch["mask"])
        return means(own, outputs, batch["label"], batch["mask"])

    return eval_step
