from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.train.losses import (
    LOSSES,
    create_loss,
    huber,
    l1,
    l2,
    l2_penalty,
    losses_for,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    weighted,
)

pytestmark = pytest.mark.fast

OF_CLASSES = [LOSSES[name] for name in losses_for(targets=False)]
OF_TARGETS = [LOSSES[name] for name in losses_for(targets=True)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_optax_s(smoothing, rng):
    logits = rng.normal(size=(6, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 6)
    loss = softmax_cross_entropy(logits, labels, np.ones(6, bool), smoothing)
    soft = optax.smooth_labels(jax.nn.one_hot(labels, 4), smoothing)
    np.testing.assert_allclose(
        loss.per_example, optax.softmax_cross_entropy(logits, soft), rtol=1e-5
    )
    assert loss.count == 6
    assert loss.summed == pytest.approx(float(loss.per_example.sum()))


def test_uniform_logits_cost_ln_c():
    loss = softmax_cross_entropy(jnp.zeros((3, 10)), jnp.arange(3), jnp.ones(3, bool))
    np.testing.assert_allclose(loss.per_example, np.log(10), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sigmoid_cross_entropy_is_the_sum_of_binary_ones(smoothing, rng):
    logits = rng.normal(size=(6, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 6)
    q = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    p = 1 / (1 + np.exp(-logits))
    expected = -(q * np.log(p) + (1 - q) * np.log(1 - p)).sum(axis=1)
    loss = sigmoid_cross_entropy(logits, labels, np.ones(6, bool), smoothing)
    np.testing.assert_allclose(loss.per_example, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", OF_CLASSES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_probabilities_as_labels(loss, smoothing, rng):
    """Of one class they are that label; mixed, the loss is mixed as they are."""
    logits = rng.normal(size=(6, 4)).astype(np.float32)
    one, other, mask = rng.integers(0, 4, 6), rng.integers(0, 4, 6), np.ones(6, bool)
    of_one, of_other = (loss(logits, labels, mask, smoothing) for labels in (one, other))
    hard = loss(logits, jax.nn.one_hot(one, 4), mask, smoothing)
    np.testing.assert_allclose(hard.per_example, of_one.per_example, rtol=1e-5)
    mixed = 0.3 * jax.nn.one_hot(one, 4) + 0.7 * jax.nn.one_hot(other, 4)
    expected = 0.3 * of_one.per_example + 0.7 * of_other.per_example
    np.testing.assert_allclose(
        loss(logits, mixed, mask, smoothing).per_example, expected, rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_losses_of_targets_of_any_shape(shape, rng):
    targets = rng.normal(size=(5, *shape)).astype(np.float32)
    outputs = rng.normal(size=(5, int(np.prod(shape)))).astype(np.float32)
    errors = np.abs(outputs - targets.reshape(5, -1))
    small = np.where(errors <= 0.5, 0.5 * errors**2, 0.5 * (errors - 0.25))
    for loss, expected in (
        (l1, errors),
        (l2, errors**2),
        (partial(huber, delta=0.5), small),
    ):
        found = loss(outputs, targets, np.ones(5, bool))
        np.testing.assert_allclose(found.per_example, expected.mean(axis=1), rtol=1e-5)
        assert found.count == 5


@given(
    loss=st.sampled_from([*OF_CLASSES, *OF_TARGETS]),
    mask=st.lists(st.booleans(), min_size=6, max_size=6).filter(any),
    seed=st.integers(0, 100),
)
def test_a_masked_loss_is_the_loss_of_those_that_count(loss, mask, seed):
    rng, mask = np.random.default_rng(seed), np.array(mask)
    outputs = rng.normal(size=(6, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 6) if loss in OF_CLASSES else rng.normal(size=(6, 4))
    outputs[~mask] = np.nan  # what is masked may be anything
    masked = loss(outputs, labels, mask)
    alone = loss(outputs[mask], labels[mask], np.ones(mask.sum(), bool))
    assert masked.count == alone.count == mask.sum()
    np.testing.assert_allclose(masked.summed, alone.summed, rtol=1e-5)
    np.testing.assert_allclose(masked.per_example[mask], alone.per_example, rtol=1e-5)


def test_labels_are_smoothed_in_training_alone(rng):
    settings = {"name": "softmax_cross_entropy", "label_smoothing": 0.1, "l2_regularization": 1.0}
    logits, labels, mask = rng.normal(size=(6, 4)), rng.integers(0, 4, 6), np.ones(6, bool)
    for train, smoothing in ((True, 0.1), (False, 0.0)):
        found = create_loss(settings, train)(logits, labels, mask)
        expected = softmax_cross_entropy(logits, labels, mask, smoothing)
        np.testing.assert_array_equal(found.per_example, expected.per_example)


def test_the_penalty_counts_what_decays_and_its_gradient_is_the_weight():
    params = {
        "conv1": {"kernel": jnp.array([1.0, 2.0]), "bias": jnp.array([5.0])},
        "norm1": {"scale": jnp.array([3.0]), "bias": jnp.array([4.0])},
    }
    decayed = {"conv1": {"kernel": True, "bias": False}, "norm1": {"scale": False, "bias": False}}
    assert l2_penalty(params, decayed) == 2.5
    assert l2_penalty(params) == 0.5 * (1 + 4 + 25 + 9 + 16)
    grads = jax.grad(l2_penalty)(params, decayed)
    np.testing.assert_array_equal(grads["conv1"]["kernel"], params["conv1"]["kernel"])
    assert not any(map(np.any, (grads["conv1"]["bias"], *grads["norm1"].values())))


def cross_entropies(logits, labels):
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels], np.exp(log_p)[np.arange(len(labels)), labels]


def test_focal_loss(rng):
    """(1 − p)^γ times the cross-entropy of each example; of γ = 0, the cross-entropy."""
    logits, labels = rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
    mask = np.arange(6) < 5
    entropies, p = cross_entropies(logits, labels)
    for gamma in (0.0, 0.5, 2.0):
        loss = create_loss({"name": "focal", "gamma": gamma}, train=True)
        found = loss(jnp.array(logits), jnp.array(labels), jnp.array(mask))
        expected = np.where(mask, (1 - p) ** gamma * entropies, 0)
        np.testing.assert_allclose(found.per_example, expected, rtol=1e-5)
        soft = loss(jnp.array(logits), jax.nn.one_hot(labels, 4), jnp.array(mask))
        np.testing.assert_allclose(soft.per_example, expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_gradient_of_the_focal_loss_is_finite_where_all_is_right(gamma):
    loss = create_loss({"name": "focal", "gamma": gamma}, train=True)
    label, mask = jnp.array([0]), jnp.ones(1, bool)
    gradient = jax.grad(lambda logits: loss(logits, label, mask).summed)
    for logits in ([200.0, 0.0], [0.0, 200.0], [1e4, -1e4]):
        assert np.isfinite(gradient(jnp.array([logits]))).all()


def test_a_class_counts_as_its_weight_says(rng):
    logits, labels = rng.normal(size=(6, 3)), np.array([0, 1, 2, 0, 1, 2])
    weights, mask = np.array([0.5, 1.0, 3.0]), np.arange(6) < 5
    loss = weighted(create_loss({"name": "softmax_cross_entropy"}, train=True), weights)
    found = loss(jnp.array(logits), jnp.array(labels), jnp.array(mask))
    expected = np.where(mask, weights[labels] * cross_entropies(logits, labels)[0], 0)
    np.testing.assert_allclose(found.per_example, expected, rtol=1e-5)
    assert found.summed == pytest.approx(expected.sum(), rel=1e-5)
    assert found.count == 5
    half = np.full((6, 3), [0.5, 0.5, 0.0])
    mixed = loss(jnp.array(logits), jnp.array(half), jnp.array(mask)).per_example
    plain = create_loss({"name": "softmax_cross_entropy"}, train=True)
    plain = plain(jnp.array(logits), jnp.array(half), jnp.array(mask)).per_example
    np.testing.assert_allclose(mixed, 0.75 * plain, rtol=1e-5)
