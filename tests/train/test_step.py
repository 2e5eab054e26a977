import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import create_model
from jaxcnn.models.inception import AuxiliaryHeads
from jaxcnn.optim.optimizers import create_optimizer
from jaxcnn.train.losses import softmax_cross_entropy
from jaxcnn.train.sharding import make_mesh, replicated
from jaxcnn.train.state import abstract_state, init_state
from jaxcnn.train.step import make_eval_step, make_train_step

SHAPE = (6, 6, 1)


@pytest.fixture
def batch(rng):
    return {
        "image": jnp.array(rng.normal(size=(8, *SHAPE)), jnp.float32),
        "label": jnp.array(rng.integers(0, 3, 8), jnp.int32),
        "mask": jnp.ones(8, bool),
    }


def setting(name="linear", learning_rate=0.1, **fields):
    model = create_model(name, num_classes=3, **fields)
    tx = create_optimizer(
        {"name": "nesterov", "learning_rate": learning_rate, "momentum": 0.0}, lambda step: 1.0
    )
    return model, tx, init_state(model, tx, SHAPE, seed=0, sharding=replicated(make_mesh()))


def test_a_step_goes_down_the_gradient_of_the_mean_loss(batch):
    model, tx, state = setting()

    def objective(params):
        logits = model.apply({"params": params}, batch["image"], train=True)
        loss = softmax_cross_entropy(logits, batch["label"], batch["mask"])
        kernel = params["head"]["kernel"]
        return loss.summed / 8 + 0.01 * 0.5 * (kernel**2).sum()

    grads = jax.grad(objective)(state.params)
    new, metrics = jax.jit(make_train_step(model, tx, l2_regularization=0.01))(state, batch)
    expected = jax.tree.map(lambda w, g: w - 0.1 * g, state.params, grads)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), new.params, expected
    )
    values, divergence = metrics.read()
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
    _, tx, _ = setting()
    state = init_state(model, tx, SHAPE, seed=0, sharding=replicated(make_mesh()))
    new, metrics = jax.jit(make_train_step(model, tx))(state, batch)
    assert np.abs(new.params["head"]["kernel"]).max() > 0.01
    jax.tree.map(
        lambda main, aux: np.testing.assert_allclose(aux, 0.3 * main, rtol=1e-4, atol=1e-7),
        new.params["head"],
        new.params["aux1_head"],
    )
    assert metrics.read()[0]["loss"] == pytest.approx(np.log(3), rel=1e-5)  # the main head's alone

    evaluate = make_eval_step(model)
    without = new.replace(params={"head": new.params["head"]})
    assert evaluate(new, batch).read() == evaluate(without, batch).read()


def test_the_reported_loss_leaves_the_penalty_out(batch):
    model, tx, state = setting()
    reported = [
        jax.jit(make_train_step(model, tx, l2_regularization=l2))(state, batch)[1].read()[0]["loss"]
        for l2 in (0.0, 10.0)
    ]
    assert reported[0] == reported[1]


def test_the_step_is_pure_and_dropout_hangs_on_the_step(batch):
    model, tx, state = setting("mlp", widths=(16,), dropout_rate=0.5, learning_rate=1e-30)
    train_step = jax.jit(make_train_step(model, tx))
    first, again = train_step(state, batch), train_step(state, batch)
    jax.tree.map(np.testing.assert_array_equal, first[0].params, again[0].params)
    assert first[1].read() == again[1].read()
    later = train_step(first[0], batch)
    assert later[1].read()[0]["loss"] != first[1].read()[0]["loss"]


def test_what_is_masked_changes_nothing(batch):
    model, tx, state = setting()
    train_step = jax.jit(make_train_step(model, tx))
    half = {**batch, "mask": jnp.arange(8) < 4}
    other = {**half, "image": batch["image"].at[4:].set(7.0)}
    one, two = train_step(state, half), train_step(state, other)
    jax.tree.map(np.testing.assert_array_equal, one[0].params, two[0].params)


def test_divergence_names_its_step(batch):
    model, tx, state = setting()
    train_step = jax.jit(make_train_step(model, tx))
    state, _ = train_step(state, batch)
    _, metrics = train_step(state, {**batch, "image": batch["image"].at[0, 0].set(jnp.nan)})
    assert metrics.read()[1] == (2, pytest.approx(0.1))


def test_evaluation_uses_running_statistics_and_no_dropout(batch):
    model, _, state = setting("simple_cnn", widths=(4,), dropout_rate=0.5)
    metrics = jax.jit(make_eval_step(model))(state, batch).read()
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    logits = model.apply(variables, batch["image"], train=False)
    loss = softmax_cross_entropy(logits, batch["label"], batch["mask"])
    assert metrics["loss"] == pytest.approx(float(loss.summed) / 8, rel=1e-5)
    assert metrics["accuracy"] == float((logits.argmax(1) == batch["label"]).mean())
    assert metrics["count"] == 8


def test_the_abstract_state_is_the_state_without_numbers():
    model, tx, state = setting("simple_cnn", widths=(4,))
    abstract = abstract_state(model, tx, SHAPE, replicated(make_mesh()))
    assert jax.tree.structure(abstract) == jax.tree.structure(state)
    for shape, leaf in zip(jax.tree.leaves(abstract), jax.tree.leaves(state), strict=True):
        assert (shape.shape, shape.dtype) == (leaf.shape, leaf.dtype)


def test_seeds_initialise_differently():
    model, tx, state = setting()
    sharding = replicated(make_mesh())
    same, other = (init_state(model, tx, SHAPE, seed, sharding) for seed in (0, 1))
    kernel = state.params["head"]["kernel"]
    np.testing.assert_array_equal(kernel, same.params["head"]["kernel"])
    assert (kernel != other.params["head"]["kernel"]).any()
