import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.layers.conv import EmptyLayerError
from jaxcnn.layers.pooling import global_average_pool, max_pool, pool


def test_pool(rng):
    images = rng.normal(size=(2, 7, 6, 3)).astype(np.float32)
    windows = images[:, :6, :6].reshape(2, 3, 2, 3, 2, 3)
    np.testing.assert_allclose(pool(images, "max", 2, "p"), windows.max((2, 4)), rtol=1e-6)
    np.testing.assert_allclose(
        pool(images, "avg", 2, "p"), windows.mean((2, 4)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        global_average_pool(images), images.mean((1, 2)), rtol=1e-5, atol=1e-6
    )


def test_pool_names_itself_when_it_would_be_empty():
    with pytest.raises(EmptyLayerError, match=r"layer 's4' would be empty \(0×2 pixels\)"):
        pool(jnp.zeros((1, 1, 4, 3)), "max", 2, name="s4")


@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(3, 10), st.integers(3, 10)),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.tuples(st.integers(0, 1), st.integers(0, 1))] * 2),
    dtype=st.sampled_from(["float32", "bfloat16"]),
)
def test_max_pool_and_its_gradient_are_xlas(size, window, strides, padding, dtype):
    """Ties included: half of the pixels are 0, as after a ReLU, the others whole numbers."""
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(-4, 4, (2, *size, 3)).clip(0), dtype)
    shape = jax.eval_shape(lambda x: nn.max_pool(x, window, strides, padding), images).shape
    cotangents = jnp.asarray(rng.integers(-8, 8, shape), dtype)  # whole, so that sums are exact

    def results(pooling):
        @jax.jit
        def compiled(images, cotangents):
            outputs, pullback = jax.vjp(lambda x: pooling(x, window, strides, padding), images)
            return outputs, *pullback(cotangents)

        return compiled(images, cotangents)

    for ours, theirs in zip(results(max_pool), results(nn.max_pool), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_max_pool_under_vmap_jit_and_remat(rng):
    images = rng.normal(size=(3, 2, 6, 6, 2)).astype(np.float32)

    def loss(pooling):
        return lambda x: jnp.sum(jnp.sin(pooling(x, (2, 2), (2, 2), ((0, 0), (0, 0)))))

    ours = jax.jit(jax.vmap(jax.grad(jax.checkpoint(loss(max_pool)))))(images)
    np.testing.assert_allclose(ours, jax.vmap(jax.grad(loss(nn.max_pool)))(images), atol=1e-6)


def test_max_pool_elsewhere_than_on_a_cpu_is_flaxs(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    program = jax.make_jaxpr(lambda x: max_pool(x, (2, 2), (2, 2), ((0, 0), (0, 0))))(
        jnp.zeros((1, 4, 4, 1))
    )
    assert "reduce_window" in str(program)
    assert "custom_vjp" not in str(program)
