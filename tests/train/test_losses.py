import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.train.losses import l2_penalty, softmax_cross_entropy


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


def test_a_masked_loss_is_the_loss_of_those_that_count(rng):
    logits = rng.normal(size=(6, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 6)
    mask = np.array([True, False, True, True, False, False])
    logits[1] = np.nan  # what is masked may be anything
    masked = softmax_cross_entropy(logits, labels, mask)
    alone = softmax_cross_entropy(logits[mask], labels[mask], np.ones(3, bool))
    assert masked.count == alone.count == 3
    np.testing.assert_allclose(masked.summed, alone.summed, rtol=1e-6)


def test_l2_counts_kernels_alone_and_its_gradient_is_the_kernel():
    params = {
        "conv1": {"kernel": jnp.array([1.0, 2.0]), "bias": jnp.array([5.0])},
        "norm1": {"scale": jnp.array([3.0]), "bias": jnp.array([4.0])},
    }
    assert l2_penalty(params) == 2.5
    grads = jax.grad(l2_penalty)(params)
    np.testing.assert_array_equal(grads["conv1"]["kernel"], params["conv1"]["kernel"])
    assert not any(map(np.any, (grads["conv1"]["bias"], *grads["norm1"].values())))
