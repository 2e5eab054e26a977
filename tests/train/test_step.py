"""The training step and the evaluation step: gradients, masks, heads, averages."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxcnn.layout import Layout
from jaxcnn.models.inception import AuxiliaryHeads
from jaxcnn.optim.averaging import Averaging
from jaxcnn.optim.groups import parameter_groups
from jaxcnn.optim.optimizers import OPTIMIZERS
from jaxcnn.train.batch_stats import make_statistics_step, reestimate
from jaxcnn.train.losses import softmax_cross_entropy
from jaxcnn.train.state import abstract_state, evaluation_variables
from jaxcnn.train.step import make_eval_step
from tests.train.problem import SHAPE, initial_state, setting, step_of


def test_a_step_goes_down_the_gradient_of_the_mean_loss(batch):
    model, recipe, state = setting(recipe={"l2_regularization": 0.01})

    def objective(params):
        logits = model.apply({"params": params}, batch["image"], train=True)
        loss = softmax_cross_entropy(logits, batch["label"], batch["mask"])
        squares = sum((leaf**2).sum() for leaf in jax.tree.leaves(params))
        return loss.summed / 8 + 0.01 * 0.5 * squares

    grads = jax.grad(objective)(state.params)
    new, metrics = step_of(model, recipe)(state, batch)
    expected = jax.tree.map(lambda w, g: w - 0.1 * g, state.params, grads)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), new.params, expected
    )
    ((values, divergence, _),) = metrics.read()
    norm = np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(grads)))
    assert values["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert values["learning_rate"] == pytest.approx(0.1)
    assert divergence is None
    assert new.step == 1


class TwoHeads(AuxiliaryHeads):
    """Two softmax regressions, one of them auxiliary."""

    @nn.compact
    def __call__(self, images, train):
        kit, x = self.kit(train), images.reshape(len(images), -1)
        if self.trains_aux_heads(kit):
            self.aux_logits("aux1", self.head(kit, x, name="aux1_head"))
        return self.head(kit, x)


def test_auxiliary_heads_are_trained_by_their_weight_and_dropped_at_evaluation(batch):
    """Both heads begin at zero and see the same, so that their gradients differ by the weight alone."""
    model = TwoHeads(num_classes=3, head_init="zeros", aux_heads=True, aux_weight=0.3)
    _, recipe, _ = setting()
    state = initial_state(model, recipe)
    new, metrics = step_of(model, recipe)(state, batch)
    assert np.abs(new.params["head"]["kernel"]).max() > 0.01
    jax.tree.map(
        lambda main, aux: np.testing.assert_allclose(aux, 0.3 * main, rtol=1e-4, atol=1e-7),
        new.params["head"],
        new.params["aux1_head"],
    )
    assert metrics.read()[0].values["loss"] == pytest.approx(
        np.log(3), rel=1e-5
    )  # the main head's alone

    evaluate = make_eval_step(model)
    without = {"params": {"head": new.params["head"]}}
    assert evaluate({"params": new.params}, batch, recipe.scoring).read() == (
        evaluate(without, batch, recipe.scoring).read()
    )


def test_the_reported_loss_leaves_the_penalty_out(batch):
    reported = []
    for l2 in (0.0, 10.0):
        model, recipe, state = setting(recipe={"l2_regularization": l2})
        _, metrics = step_of(model, recipe)(state, batch)
        reported.append(metrics.read()[0].values["loss"])
    assert reported[0] == reported[1]


def test_the_step_is_pure_and_dropout_depends_on_the_step(batch):
    model, recipe, state = setting(
        "mlp", {"name": "sgd", "learning_rate": 1e-30}, widths=(16,), dropout_rate=0.5
    )
    train_step = step_of(model, recipe)
    first, again = train_step(state, batch), train_step(state, batch)
    jax.tree.map(np.testing.assert_array_equal, first[0].params, again[0].params)
    assert first[1].read() == again[1].read()
    later = train_step(first[0], batch)
    assert later[1].read()[0].values["loss"] != first[1].read()[0].values["loss"]


def test_what_is_masked_changes_nothing(batch):
    model, recipe, state = setting()
    train_step = step_of(model, recipe)
    half = {**batch, "mask": jnp.arange(8) < 4}
    other = {**half, "image": batch["image"].at[4:].set(7.0)}
    one, two = train_step(state, half), train_step(state, other)
    jax.tree.map(np.testing.assert_array_equal, one[0].params, two[0].params)


def test_divergence_names_its_step(batch):
    model, recipe, state = setting()
    train_step = step_of(model, recipe)
    state, _ = train_step(state, batch)
    _, metrics = train_step(state, {**batch, "image": batch["image"].at[0, 0].set(jnp.nan)})
    assert metrics.read()[0].divergence == (2, pytest.approx(0.1))


def test_evaluation_uses_running_statistics_and_no_dropout(batch):
    model, recipe, state = setting("simple_cnn", widths=(4,), dropout_rate=0.5)
    variables = evaluation_variables(state)
    metrics = jax.jit(make_eval_step(model))(variables, batch, recipe.scoring).read()
    logits = model.apply(variables, batch["image"], train=False)
    loss = softmax_cross_entropy(logits, batch["label"], batch["mask"])
    assert metrics["loss"] == pytest.approx(float(loss.summed) / 8, rel=1e-5)
    assert metrics["accuracy"] == float((logits.argmax(1) == batch["label"]).mean())
    assert metrics["count"] == 8


def test_the_abstract_state_is_the_state_without_numbers():
    model, recipe, state = setting("simple_cnn", widths=(4,))
    abstract = abstract_state(model, recipe, SHAPE, Layout.over_all_devices())
    assert jax.tree.structure(abstract) == jax.tree.structure(state)
    for shape, leaf in zip(jax.tree.leaves(abstract), jax.tree.leaves(state), strict=True):
        assert (shape.shape, shape.dtype) == (leaf.shape, leaf.dtype)


def test_seeds_initialise_differently():
    model, recipe, state = setting()
    same, other = (initial_state(model, recipe, seed) for seed in (0, 1))
    kernel = state.params["head"]["kernel"]
    np.testing.assert_array_equal(kernel, same.params["head"]["kernel"])
    assert (kernel != other.params["head"]["kernel"]).any()


# --- what optimizers need of the step ---


def test_a_frozen_backbone_keeps_its_bits_for_a_hundred_steps(batch):
    rules = {"decayed": ["kernel$"], "frozen": ["^(?!head)"], "learning_rates": []}
    groups, _ = parameter_groups(rules, setting("simple_cnn", widths=(4,))[2].params)
    model, recipe, state = setting(
        "simple_cnn",
        {"name": "adamw", **OPTIMIZERS.settings("adamw"), "weight_decay": 0.1},
        {"groups": groups},
        widths=(4,),
    )
    train_step, new = step_of(model, recipe), state
    for _ in range(100):
        new, _ = train_step(new, batch)
    backbone, head = dict(new.params), dict(new.params).pop("head")
    del backbone["head"]
    for name, layer in backbone.items():
        jax.tree.map(np.testing.assert_array_equal, layer, state.params[name])
    assert (head["kernel"] != state.params["head"]["kernel"]).all()


def test_sam_s_second_gradient_leaves_the_running_averages_alone(batch):
    """They are of the pass at the weights themselves, as with any other optimizer."""
    fields = {"widths": (4,), "dropout_rate": 0.0}
    model, plain, state = setting("simple_cnn", **fields)
    without, _ = step_of(model, plain)(state, batch)
    sam = {"name": "sam", "learning_rate": 0.1, "momentum": 0.0, "rho": 0.5}
    model, recipe, state = setting("simple_cnn", sam, **fields)
    new, _ = step_of(model, recipe)(state, batch)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        new.batch_stats,
        without.batch_stats,
    )
    assert np.abs(new.params["head"]["kernel"] - without.params["head"]["kernel"]).max() > 1e-4


# --- averages ---


def test_an_average_is_evaluated_and_trains_nothing(batch):
    fields = {"widths": (4,), "dropout_rate": 0.0}
    model, plain, state = setting("simple_cnn", **fields)
    averaging = Averaging(Partial(lambda step: 0.25), "averaged")
    _, recipe, averaged = setting("simple_cnn", recipe={"averaging": averaging}, **fields)
    step, averaging_step = (step_of(model, r) for r in (plain, recipe))
    expected = evaluation_variables(state)
    for _ in range(3):
        state, averaged = step(state, batch)[0], averaging_step(averaged, batch)[0]
        expected = jax.tree.map(
            lambda mean, new: 0.75 * mean + 0.25 * new, expected, evaluation_variables(state)
        )
    jax.tree.map(np.testing.assert_array_equal, averaged.params, state.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        evaluation_variables(averaged), expected,
    )  # fmt: skip


def test_reestimated_statistics_are_the_mean_over_the_batches(rng):
    model, _, state = setting("simple_cnn", widths=(4,), dropout_rate=0.0)
    images = [jnp.array(rng.normal(2, 3, (8, *SHAPE)), jnp.float32) for _ in range(3)]
    found = reestimate(
        jax.jit(make_statistics_step(model)),
        evaluation_variables(state),
        ({"image": image} for image in images),
    )
    means = []
    for image in images:
        own = model.clone(batch_norm_momentum=0.0)
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        means.append(own.apply(variables, image, train=True, mutable=["batch_stats"])[1])
    expected = jax.tree.map(lambda *leaves: sum(leaves) / 3, *means)["batch_stats"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
