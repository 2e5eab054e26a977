import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.errors import UserError
from jaxcnn.layers.activations import ACTIVATIONS, activation
from jaxcnn.layers.conv import Conv, EmptyLayerError
from jaxcnn.layers.initializers import INITIALIZERS, initializer
from jaxcnn.layers.norm import normalization


@settings(max_examples=40)
@given(
    size=st.integers(1, 12),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
)
def test_conv_output_size_or_a_clear_refusal(size, kernel, stride, padding):
    layer = Conv(2, (kernel, kernel), strides=stride, padding=padding, name="conv1")
    expected = (size + 2 * padding - kernel) // stride + 1

    def shape():
        return jax.eval_shape(
            lambda: layer.init_with_output(jax.random.key(0), jnp.zeros((1, size, size, 3)))[0]
        ).shape

    if expected < 1:
        with pytest.raises(EmptyLayerError):
            shape()
    else:
        assert shape() == (1, expected, expected, 2)


def test_conv_is_flax_conv_with_the_same_parameters(rng):
    # Of fewer channels a CPU would have a form of its own.
    images = rng.normal(size=(2, 7, 6, 8)).astype(np.float32)
    ours, theirs = Conv(4, (3, 3), padding=1), nn.Conv(4, (3, 3), padding=1)
    variables = theirs.init(jax.random.key(0), images)
    np.testing.assert_array_equal(ours.apply(variables, images), theirs.apply(variables, images))


def test_batch_norm_keeps_its_own_statistics(rng):
    images = rng.normal(3, 2, size=(8, 5, 5, 2)).astype(np.float32)
    train = normalization("batch", train=True)(name="norm")
    variables = train.init(jax.random.key(0), images)
    outputs, changed = train.apply(variables, images, mutable=["batch_stats"])
    np.testing.assert_allclose(outputs.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(outputs.std((0, 1, 2)), 1, atol=1e-3)
    running = changed["batch_stats"]
    np.testing.assert_allclose(running["mean"], 0.1 * images.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * images.var((0, 1, 2), ddof=1), rtol=1e-4)

    evaluated = normalization("batch", train=False)(name="norm")
    outputs = evaluated.apply({"params": variables["params"], **changed}, images)
    expected = (images - running["mean"]) / np.sqrt(running["var"] + 1e-5)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_norm_none_is_the_identity():
    x = jnp.arange(4.0)
    assert normalization("none", train=True)(name="norm")(x) is x


@pytest.mark.parametrize(
    ("table", "look_up", "kind"),
    [(ACTIVATIONS, activation, "activation"), (INITIALIZERS, initializer, "initialiser")],
)
def test_tables_by_name(table, look_up, kind):
    for name in table:
        assert look_up(name) is table[name]
    with pytest.raises(UserError, match=f"{kind} 'nope' does not exist; valid: "):
        look_up("nope")
    with pytest.raises(UserError, match="norm 'bach' does not exist; did you mean 'batch'"):
        normalization("bach", train=True)


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_normal", 2 / (9 * 16 + 9 * 32)),
        ("glorot_uniform", 2 / (9 * 16 + 9 * 32)),
        ("he_normal", 2 / (9 * 16)),
        ("he_uniform", 2 / (9 * 16)),
        ("he_normal_fan_out", 2 / (9 * 32)),
        ("lecun_normal", 1 / (9 * 16)),
        ("lecun_uniform", 1 / (9 * 16)),
        ("he_uniform_fan_out", 2 / (9 * 32)),
        ("orthogonal", 1 / (9 * 16)),
        ("normal_0.01", 1e-4),
        ("normal_0.3", 0.09),
        ("zeros", 0),
    ],
)
def test_initialiser_variance(name, variance):
    kernels = [initializer(name)(jax.random.key(i), (3, 3, 16, 32)) for i in range(20)]
    assert np.mean(np.square(kernels)) == pytest.approx(variance, rel=0.02)


def test_every_initialiser_is_in_the_variance_test():
    tested = test_initialiser_variance.pytestmark[0].args[1]
    assert {name for name, _ in tested if not name.startswith("normal_")} == set(INITIALIZERS)


@pytest.mark.parametrize("name", ["normal_", "normal_x", "normal_0", "normal_-1", "normal_inf"])
def test_a_normal_initialiser_needs_a_deviation(name):
    with pytest.raises(UserError, match=f"initialiser '{name}' does not exist; "):
        initializer(name)


def test_orthogonal_kernels_are_orthogonal():
    kernel = initializer("orthogonal")(jax.random.key(0), (3, 3, 4, 8)).reshape(36, 8)
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(8), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_keep_shape_and_dtype(dtype):
    x = jax.ShapeDtypeStruct((2, 3, 3, 4), dtype)
    for name, function in ACTIVATIONS.items():
        assert jax.eval_shape(function, x) == x, name


def test_gelu_is_exact_unless_it_says_tanh():
    x = jnp.linspace(-4, 4, 33)
    exact = x * 0.5 * (1 + jax.lax.erf(x / np.sqrt(2)))
    by_tanh = 0.5 * x * (1 + jnp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(activation("gelu")(x), exact, atol=1e-6)
    np.testing.assert_allclose(activation("gelu_tanh")(x), by_tanh, atol=1e-6)


def test_relu_is_jaxs_relu_at_every_value():
    x = jnp.array([-np.inf, -2.0, -0.0, 0.0, 1e-30, 3.0, np.inf, np.nan])
    relu = activation("relu")
    np.testing.assert_array_equal(relu(x), jax.nn.relu(x))
    np.testing.assert_array_equal(jax.vmap(jax.grad(relu))(x), jax.vmap(jax.grad(jax.nn.relu))(x))
    tangent = jnp.arange(8.0)
    np.testing.assert_array_equal(
        jax.jvp(relu, (x,), (tangent,))[1], jax.jvp(jax.nn.relu, (x,), (tangent,))[1]
    )
