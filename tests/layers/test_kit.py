"""A network's layers: the maximum before norm and activation is the one after them."""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import create_model
from jaxcnn.cpu.forms import forms_for, plain_forms
from jaxcnn.layers.activations import ACTIVATIONS, RISING
from jaxcnn.layers.kit import LayerKit
from jaxcnn.models.classifier import Classifier
from tests.models.zoo import QUICK

pytestmark = pytest.mark.fast


class Stem(Classifier):
    """A convolution, norm and activation, and the maximum of overlapping windows."""

    norm: str = "batch"

    @nn.compact
    def __call__(self, images, train):
        kit: LayerKit = self.kit(train)
        x = kit.conv(4, 3, use_bias=True, name="conv")(images)
        return kit.norm_act_maximum(x, "norm", 3, 2, padding=1, name="pool")


def results(model, variables, images, train):
    """Outputs, new statistics and all gradients."""

    def objective(params, images, variables):
        y, changed = model.apply(
            {**variables, "params": params}, images, train=train, mutable=["batch_stats"]
        )
        return jnp.sum(jnp.sin(y) * jnp.arange(y.size).reshape(y.shape)), (y, changed)

    inputs = variables["params"], images, variables
    program = jax.jit(jax.value_and_grad(objective, (0, 1), has_aux=True))
    (_, seen), gradients = program.lower(*inputs).compile(QUICK)(*inputs)
    return seen, gradients


@pytest.mark.parametrize(
    ("train", "settings"),
    [
        (True, {}),
        (False, {}),
        (True, {"batch_norm_mode": "frozen"}),
        (True, {"batch_norm_mode": "ghost", "ghost_batch_size": 2}),
        (True, {"batch_norm_mode": "per_replica", "replicas": 3}),
        (True, {"activation": "relu6"}),
        (True, {"activation": "tanh"}),
        (True, {"norm": "none"}),
        (True, {"norm": "group", "norm_groups": 2}),
        (True, {"activation": "silu"}),
    ],
    ids=str,
)
def test_the_maximum_may_come_first(train, settings, rng):
    with jax.enable_x64(True):
        model = Stem(4, dtype="float64", param_dtype="float64", **settings)
        images = jnp.array(rng.normal(size=(6, 9, 8, 3)))
        variables = model.init(jax.random.key(0), images, train=False)
        if "norm" in variables["params"]:  # scales of both signs
            variables["params"]["norm"] = {
                "scale": jnp.array([1.5, -0.7, 0.3, -2.0]),
                "bias": jnp.array([0.1, 0.4, -0.2, 0.3]),
            }
        if variables.get("batch_stats"):
            variables["batch_stats"]["norm"] = {
                "mean": jnp.array([0.3, -0.1, 0.2, 0.5]),
                "var": jnp.array([0.5, 1.5, 1.0, 2.0]),
            }
        with plain_forms():
            after = results(model, variables, images, train)
        with forms_for("tpu"):
            before = results(model, variables, images, train)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-10), after, before)


@pytest.mark.parametrize(
    ("context", "settings", "first"),
    [
        (forms_for("tpu"), {}, True),
        (forms_for("gpu"), {}, True),
        (forms_for("cpu"), {}, False),
        (plain_forms(), {}, False),
        (contextlib.nullcontext(), {}, jax.default_backend() != "cpu"),
        (forms_for("tpu"), {"activation": "silu"}, False),
        (forms_for("tpu"), {"norm": "layer"}, False),
    ],
)
def test_where_it_does(context, settings, first):
    with context:
        assert Stem(4, **settings).kit(train=True).pools_first == first


def test_a_scale_of_zero(rng):
    """The bias alone remains, and the scale's gradient is one-sided: that of a small positive one."""
    with jax.enable_x64(True):
        model = Stem(4, dtype="float64", param_dtype="float64")
        images = jnp.array(rng.normal(size=(6, 9, 8, 3)))
        variables = model.init(jax.random.key(0), images, train=False)
        bias = jnp.array([0.1, 0.4, 0.2, 0.3])

        def with_scale(scale):
            params = {**variables["params"], "norm": {"scale": jnp.full(4, scale), "bias": bias}}
            return results(model, {**variables, "params": params}, images, True)

        with forms_for("tpu"):
            (y, _), (gradients, _) = with_scale(0.0)
            _, (near, _) = with_scale(1e-9)
    np.testing.assert_array_equal(y, np.broadcast_to(bias, y.shape))
    np.testing.assert_allclose(gradients["norm"]["scale"], near["norm"]["scale"], rtol=1e-6)
    np.testing.assert_array_equal(gradients["conv"]["kernel"], 0)


def test_what_rises_never_falls():
    with jax.enable_x64(True):
        x = jnp.linspace(-12, 12, 20_001)
        for name, function in ACTIVATIONS.items():
            assert bool(jnp.all(jnp.diff(function(x)) >= 0)) == (name in RISING), name


@pytest.mark.parametrize("name", ["simple_cnn", "vgg11_bn"])
def test_features_are_the_same(name, rng):
    """Also the one that stands between an activation and its maximum."""
    small = {"stage_sizes": (1, 2), "width": 2, "hidden": 4, "pool_size": 1}
    model = create_model(
        name, num_classes=3, **(small if name == "vgg11_bn" else {"widths": (2, 3)})
    )
    images = jnp.array(rng.normal(size=(2, 8, 8, 3)), jnp.float32)
    variables = model.init(jax.random.key(0), images, train=False)

    def seen(context):
        with context:
            logits = model.apply(variables, images, train=False)
            _, changed = model.apply(variables, images, train=False, mutable=["intermediates"])
        return logits, changed["intermediates"]

    ours, theirs = seen(forms_for("tpu")), seen(plain_forms())
    assert ours[1]["stem"][0].shape == (2, 8, 8, 2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, theirs)
