"""The CPU's forms of the convolution against XLA's own."""

import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.cpu import conv as conv_cpu
from jaxcnn.cpu.forms import forms_for
from jaxcnn.layers.conv import Conv

sizes = st.tuples(st.integers(5, 11), st.integers(5, 11))
kernels = st.tuples(st.integers(1, 4), st.integers(1, 4))
pairs = st.tuples(st.integers(0, 3), st.integers(0, 3))
steps = st.tuples(st.integers(1, 3), st.integers(1, 3))


def layers(**settings):
    """Our layer and Flax's, of the same settings."""
    return Conv(**settings), nn.Conv(**settings)


def results(layer, variables, images, cotangents):
    """Outputs, and the gradients by the parameters and the images."""

    @jax.jit
    def compiled(variables, images, cotangents):
        outputs, pullback = jax.vjp(layer.apply, variables, images)
        return outputs, *pullback(cotangents)

    return compiled(variables, images, cotangents)


def assert_equal_to_rounding(ours, theirs, digits):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=digits * (np.abs(b).max() + 1e-30))


@settings(max_examples=25)
@given(
    size=sizes,
    kernel=kernels,
    strides=steps,
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.one_of(st.tuples(pairs, pairs), st.sampled_from(["SAME", "VALID"])),
    channels=st.sampled_from([(1, 1, 6), (1, 3, 8), (1, 16, 4), (2, 4, 6), (3, 3, 3), (4, 8, 16)]),
    dtype=st.sampled_from(["float32", "bfloat16"]),
)
def test_outputs_and_gradients_are_xlas(size, kernel, strides, dilation, padding, channels, dtype):
    groups, inputs, features = channels
    ours, theirs = layers(
        features=features,
        kernel_size=kernel,
        strides=strides,
        kernel_dilation=dilation,
        padding=padding,
        feature_group_count=groups,
        use_bias=False,
        dtype=dtype,
    )
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(3, *size, inputs)), dtype)
    kernel = rng.normal(size=(*kernel, inputs // groups, features))
    variables = {"params": {"kernel": jnp.asarray(kernel, "float32")}}
    shape = jax.eval_shape(theirs.apply, variables, images).shape
    if 0 in shape:
        return
    cotangents = jnp.asarray(rng.normal(size=shape), dtype)
    digits = {"float32": 3e-6, "bfloat16": 3e-2}[dtype]
    assert_equal_to_rounding(
        results(ours, variables, images, cotangents),
        results(theirs, variables, images, cotangents),
        digits,
    )


FORMS = {
    "banded": {"features": 6, "kernel_size": (5, 3), "padding": 1},  # three blocks in a row
    "1x1": {"features": 16, "kernel_size": (1, 1), "strides": 2, "padding": 0},
    "grouped": {"features": 16, "kernel_size": (3, 3), "padding": 1, "feature_group_count": 2},
    "xla": {"features": 64, "kernel_size": (3, 3), "padding": 1},
}


@pytest.fixture(params=FORMS)
def case(request, rng):
    """A layer that takes each form, Flax's own, and what to apply them to."""
    ours, theirs = layers(**FORMS[request.param])
    channels = 2 if request.param == "banded" else 8
    images = jnp.asarray(rng.normal(size=(8, 9, 9, channels)), jnp.float32)
    return ours, theirs, theirs.init(jax.random.key(0), images), images


def loss(layer):
    return lambda variables, images: jnp.sum(jnp.sin(layer.apply(variables, images)))


def test_under_jit_and_remat(case):
    ours, theirs, variables, images = case
    remat = jax.jit(jax.grad(jax.checkpoint(loss(ours)), argnums=(0, 1)))
    assert_equal_to_rounding(
        remat(variables, images), jax.grad(loss(theirs), argnums=(0, 1))(variables, images), 3e-6
    )


def test_under_vmap_over_kernels_and_images(case):
    *_, variables, images = case
    trials = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, -leaf]), variables)
    images = jnp.stack([images, images + 1, 3 * images])
    both = [jax.vmap(jax.grad(loss(layer), argnums=(0, 1)))(trials, images) for layer in case[:2]]
    assert_equal_to_rounding(*both, 3e-6)


def test_gradients_of_gradients(case):
    ours, theirs, variables, images = case

    def squared_gradient(layer):
        def squared(variables, images):
            gradient = jax.grad(loss(layer), argnums=1)(variables, images)
            return jnp.sum(gradient**2)

        return jax.grad(squared)(variables, images)

    assert_equal_to_rounding(squared_gradient(ours), squared_gradient(theirs), 1e-5)


def test_the_forms_are_the_ones_meant(rng):
    """What the tests above compare is not XLA's form with itself."""

    def primitives(layer, images):
        variables = layer.init(jax.random.key(0), images)
        forward = str(jax.make_jaxpr(layer.apply)(variables, images))
        both = str(jax.make_jaxpr(jax.grad(loss(layer)))(variables, images))
        return forward.count("conv_general_dilated["), both.count("conv_general_dilated[")

    counts = {}
    for name, fields in FORMS.items():
        images = jnp.zeros((8, 9, 9, 2 if name == "banded" else 8))
        counts[name] = primitives(Conv(**fields), images)
    assert counts["banded"][0] == 0  # no convolution forwards
    assert counts["1x1"][1] - counts["1x1"][0] < counts["xla"][1] - counts["xla"][0]


def test_elsewhere_than_on_a_cpu_it_is_xlas():
    images = jnp.zeros((2, 9, 9, 2))
    layer = Conv(**FORMS["banded"])
    variables = layer.init(jax.random.key(0), images)
    with forms_for("gpu"):
        assert "custom_vjp" not in str(jax.make_jaxpr(layer.apply)(variables, images))


def test_split_over_devices():
    """Eight devices give what one gives, for each form."""
    script = f"""
import jax, jax.numpy as jnp, numpy as np
from jaxcnn.layers.conv import Conv
from jaxcnn.layout import Layout
assert jax.device_count() == 8
layout = Layout.over_all_devices()
for name, fields in {FORMS!r}.items():
    images = np.random.default_rng(0).normal(size=(16, 9, 9, 2 if name == "banded" else 8))
    images = jnp.asarray(images, jnp.float32)
    layer = Conv(**fields)
    variables = layer.init(jax.random.key(0), images)
    gradient = jax.jit(jax.grad(lambda v, x: jnp.sum(jnp.sin(layer.apply(v, x))), argnums=(0, 1)))
    one = gradient(variables, images)
    eight = gradient(
        jax.device_put(variables, layout.replicated), jax.device_put(images, layout.batch)
    )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight)):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6 * np.abs(a).max())
print("equal")
"""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "NPROC": "32"}
    environment = {**os.environ, **flags}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "equal\n", done.stderr


def test_rules_by_shape():
    """Images of few channels are banded, in blocks that make up their rows; others are not."""

    def block(size, inputs, kernel, features, padding=0, stride=1):
        window = conv_cpu.Window((stride,) * 2, ((padding,) * 2,) * 2, (1, 1), 1, None)
        images = jax.ShapeDtypeStruct((128, size, size, inputs), jnp.float32)
        weights = jax.ShapeDtypeStruct((kernel, kernel, inputs, features), jnp.float32)
        if conv_cpu._suits_bands(images, weights, window):
            return conv_cpu._block(images, weights, window)
        return None

    assert block(32, 1, 5, 6) == 4  # LeNet-5's two
    assert block(14, 6, 5, 16) == 5
    assert block(28, 1, 3, 32, padding=1) == 2
    assert block(224, 3, 3, 64, padding=1) == 2  # VGG's first
    assert block(224, 3, 7, 64, padding=3, stride=2) is None  # ResNet's first
    assert block(8, 64, 3, 64, padding=1) is None
    assert block(31, 1, 3, 32, padding=1) is None  # 31 columns are one block or 31
