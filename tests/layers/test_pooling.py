import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.cpu.forms import forms_for
from jaxcnn.layers.conv import EmptyLayerError
from jaxcnn.layers.pooling import adaptive_average_pool, global_average_pool, max_pool, pool


def test_pool(rng):
    images = rng.normal(size=(2, 7, 6, 3)).astype(np.float32)
    windows = images[:, :6, :6].reshape(2, 3, 2, 3, 2, 3)
    np.testing.assert_allclose(pool(images, "max", 2, name="p"), windows.max((2, 4)), rtol=1e-6)
    np.testing.assert_allclose(
        pool(images, "avg", 2, name="p"), windows.mean((2, 4)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        global_average_pool(images), images.mean((1, 2)), rtol=1e-5, atol=1e-6
    )


def test_average_pool_with_padding(rng):
    """torch counts the padding as zeros; TensorFlow averages over what is there."""
    images = rng.normal(size=(1, 4, 4, 2)).astype(np.float32)
    padded, ones = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))), np.pad(np.ones((4, 4)), 1)
    counted, there = np.empty((4, 4, 2), np.float32), np.empty((4, 4, 1), np.float32)
    for i, j in np.ndindex(4, 4):
        counted[i, j] = padded[0, i : i + 3, j : j + 3].sum((0, 1))
        there[i, j] = ones[i : i + 3, j : j + 3].sum()
    ours = pool(images, "avg", 3, 1, padding=1, name="p")[0]
    np.testing.assert_allclose(ours, counted / 9, rtol=1e-5, atol=1e-6)
    ours = pool(images, "avg_unpadded", 3, 1, padding=1, name="p")[0]
    np.testing.assert_allclose(ours, counted / there, rtol=1e-5, atol=1e-6)


@given(
    size=st.integers(1, 20),
    window=st.integers(1, 4),
    stride=st.integers(1, 4),
    padding=st.integers(0, 2),
)
def test_ceil_has_torchs_size(size, window, stride, padding):
    """torch: ⌈(size + 2·padding − window) / stride⌉ + 1, less a last window that begins past the image."""
    if padding > window // 2:
        return  # torch refuses it
    expected = math.ceil((size + 2 * padding - window) / stride) + 1
    if (expected - 1) * stride >= size + padding:
        expected -= 1
    images = jax.ShapeDtypeStruct((1, size, size, 1), jnp.float32)

    def rows():
        def pooled(x):
            return pool(x, "max", window, stride, padding, ceil=True, name="p")

        return jax.eval_shape(pooled, images).shape[1]

    if expected < 1:
        with pytest.raises(EmptyLayerError):
            rows()
    else:
        assert rows() == expected


def test_ceil_of_a_maximum_sees_no_zeros():
    images = -jnp.ones((1, 4, 4, 1))
    assert (pool(images, "max", 3, 2, ceil=True, name="p") == -1).all()


@settings(max_examples=20)
@given(size=st.integers(1, 12), outputs=st.integers(1, 9))
def test_adaptive_average_pool_by_the_definition(size, outputs):
    images = np.random.default_rng(0).normal(size=(1, size, size, 2)).astype(np.float32)
    expected = np.empty((outputs, outputs, 2), np.float32)
    edges = [(i * size // outputs, -(-(i + 1) * size // outputs)) for i in range(outputs)]
    for i, (top, bottom) in enumerate(edges):
        for j, (left, right) in enumerate(edges):
            expected[i, j] = images[0, top:bottom, left:right].mean((0, 1))
    ours = adaptive_average_pool(images, outputs, name="p")[0]
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


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


def test_max_pool_elsewhere_than_on_a_cpu_is_flaxs():
    with forms_for("gpu"):
        program = jax.make_jaxpr(lambda x: max_pool(x, (2, 2), (2, 2), ((0, 0), (0, 0))))(
            jnp.zeros((1, 4, 4, 1))
        )
    assert "reduce_window" in str(program)
    assert "custom_vjp" not in str(program)
