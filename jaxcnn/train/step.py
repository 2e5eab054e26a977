"""The pure training step and evaluation step."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxcnn.optim.optimizers import learning_rate
from jaxcnn.train.losses import l2_penalty, softmax_cross_entropy
from jaxcnn.train.metrics import EvalMetrics, TrainMetrics
from jaxcnn.train.state import TrainState


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    label_smoothing: float = 0.0,
    l2_regularization: float = 0.0,
) -> Callable[[TrainState, dict], tuple[TrainState, TrainMetrics]]:
    """Returns `train_step(state, batch) → (state, metrics)`, pure and ready to be compiled.

    The objective is the mean loss over the batch's real examples, plus `l2_regularization`·½Σw² over
    the kernels, plus `model.aux_weight` times the loss of each auxiliary head. The loss that the
    metrics report leaves the penalty and the auxiliary heads out; where labels are not smoothed, it
    can be held against the validation loss.
    """

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, TrainMetrics]:
        dropout_key = jax.random.fold_in(state.rng, state.step)

        def objective(params):
            logits, changed = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                batch["image"],
                train=True,
                mutable=["batch_stats", "aux_logits"],
                rngs={"dropout": dropout_key},
            )
            loss = softmax_cross_entropy(logits, batch["label"], batch["mask"], label_smoothing)
            total = loss.summed / loss.count
            for (aux_logits,) in changed.get("aux_logits", {}).values():
                aux = softmax_cross_entropy(
                    aux_logits, batch["label"], batch["mask"], label_smoothing
                )
                total += model.aux_weight * aux.summed / aux.count
            if l2_regularization:
                total += l2_regularization * l2_penalty(params)
            return total, (logits, loss, changed.get("batch_stats", {}))

        gradient = jax.value_and_grad(objective, has_aux=True)
        (total, (logits, loss, batch_stats)), grads = gradient(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        grad_norm = optax.tree.norm(grads)
        new_state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        metrics = TrainMetrics.single_from_model_output(
            loss=loss.per_example,
            correct=logits.argmax(axis=1) == batch["label"],
            mask=batch["mask"],
            learning_rate=learning_rate(opt_state),
            grad_norm=grad_norm,
            step=new_state.step,
            finite=jnp.isfinite(total) & jnp.isfinite(grad_norm),
        )
        return new_state, metrics

    return train_step


def make_eval_step(model: nn.Module) -> Callable[[TrainState, dict], EvalMetrics]:
    """Returns `eval_step(state, batch) → metrics`, with running averages and without dropout."""

    def eval_step(state: TrainState, batch: dict) -> EvalMetrics:
        logits = predict_logits(model, state, batch["image"])
        loss = softmax_cross_entropy(logits, batch["label"], batch["mask"])
        return EvalMetrics.single_from_model_output(
            loss=loss.per_example,
            correct=logits.argmax(axis=1) == batch["label"],
            mask=batch["mask"],
        )

    return eval_step


def predict_logits(model: nn.Module, state: TrainState, images: jax.Array) -> jax.Array:
    """Logits (batch, classes) of normalised images (batch, height, width, channels)."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return model.apply(variables, images, train=False)
