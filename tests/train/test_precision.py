"""One setting for the precision, and one for operations that repeat their bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import load_config
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.errors import UserError
from jaxcnn.layout import Layout
from jaxcnn.train.experiment import Experiment, resolve
from jaxcnn.train.precision import precision_in_words, precision_of_products
from jaxcnn.train.state import abstract_state
from jaxcnn.train.step import make_train_step

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("precision", "dtype", "products"),
    [
        ("", "float32", "float32"),
        ("float32", "float32", "float32"),
        ("tensorfloat32", "float32", "tensorfloat32"),
        ("bfloat16", "bfloat16", None),
    ],
)
def test_the_dtype_and_the_products_follow(small_config, precision, dtype, products):
    config = resolve(small_config, {"precision": precision})
    assert config.model.dtype == dtype
    assert precision_of_products(config, "gpu") == precision_of_products(config, "tpu") == products
    assert precision_of_products(config, "cpu") is None


def test_without_a_precision_the_dtype_says_it(small_config):
    config = resolve(small_config, {"model.dtype": "bfloat16"})
    assert (config.precision, config.model.dtype) == ("", "bfloat16")
    assert precision_of_products(config, "gpu") is None
    assert precision_in_words(config, "gpu") == "bfloat16"


def test_it_is_said_in_words(small_config):
    config = resolve(small_config, {"precision": "tensorfloat32"})
    assert precision_in_words(config, "gpu") == "tensorfloat32"
    assert precision_in_words(config, "cpu") == "float32 (a CPU has no tensorfloat32)"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"precision": "float32", "model.dtype": "bfloat16"},
            "config.precision='float32' contradicts config.model.dtype='bfloat16'; set "
            "config.model.dtype='float32', or config.precision='' to go by the dtype",
        ),
        (
            {"precision": "bfloat16", "model.dtype": "float32"},
            "config.precision='bfloat16' contradicts config.model.dtype='float32'; set "
            "config.model.dtype='bfloat16', or config.precision='' to go by the dtype",
        ),
        (
            {"precision": "float16"},
            "config.precision='float16' must be one of '', 'float32', 'tensorfloat32', 'bfloat16'",
        ),
    ],
)
def test_contradictions_are_refused(overrides, message):
    with pytest.raises(UserError) as error:
        load_config("digits_lenet", overrides)
    assert str(error.value).startswith(message)


def traced(small_config, monkeypatch, platform, **settings):
    """The experiment on such devices, and its training step as it is traced for them."""
    monkeypatch.setattr(Layout, "platform", platform)
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    dataset = dataset_from_arrays((np.zeros((64, 12, 12, 1), np.uint8), np.arange(64) % 4))
    layout, spec = Layout.over_all_devices(), dataset.spec
    experiment = Experiment.of(resolve(small_config, settings), spec, layout)
    model, recipe = experiment.model, experiment.recipe
    state = abstract_state(model, recipe, spec.image_shape, layout)
    batch = {
        "image": jnp.zeros((8, *spec.image_shape)),
        "label": jnp.zeros(8, jnp.int32),
        "mask": jnp.ones(8, bool),
    }
    return experiment, jax.make_jaxpr(make_train_step(model))(state, batch, recipe), state


def products_of(jaxpr):
    """The convolutions and matrix products of a program, of the programs in it too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            yield equation
        for inner in jax.core.jaxprs_in_params(equation.params):
            yield from products_of(inner)


@pytest.mark.parametrize(
    ("precision", "asked"),
    [("float32", jax.lax.Precision.HIGHEST), ("tensorfloat32", jax.lax.Precision.HIGH)],
)
def test_every_product_of_the_step_asks_for_it(small_config, monkeypatch, precision, asked):
    """Two convolutions and two layers, forward and backward; no gradient is taken of the images."""
    _, program, _ = traced(small_config, monkeypatch, "gpu", precision=precision)
    found = list(products_of(program.jaxpr))
    assert len(found) == 3 * 4 - 1
    assert {equation.params["precision"] for equation in found} == {(asked, asked)}


def test_bfloat16_leaves_state_and_loss_in_float32(small_config, monkeypatch):
    _, program, state = traced(small_config, monkeypatch, "gpu", precision="bfloat16")
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((state.params, state.batch_stats))}
    assert dtypes == {np.dtype("float32")}
    assert not any(variable.aval.dtype == jnp.bfloat16 for variable in program.jaxpr.outvars)
    for equation in products_of(program.jaxpr):
        assert {variable.aval.dtype for variable in equation.invars} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(
    ("platform", "deterministic", "options"),
    [
        ("gpu", "True", {"xla_gpu_deterministic_ops": True}),
        ("gpu", "False", None),
        ("tpu", "True", None),
        ("cpu", "True", None),
    ],
)
def test_options_for_operations_that_repeat_their_bits(
    small_config, monkeypatch, platform, deterministic, options
):
    experiment, _, _ = traced(small_config, monkeypatch, platform, deterministic=deterministic)
    assert experiment.compiler_options == options


def test_xla_knows_the_option():
    """It takes the options of all platforms on any of them, and refuses others."""
    lowered = jax.jit(lambda x: x + 1).lower(1.0)
    assert lowered.compile({"xla_gpu_deterministic_ops": True})(1.0) == 2
    with pytest.raises(Exception, match="xla_gpu_deterministic_operations"):
        lowered.compile({"xla_gpu_deterministic_operations": True})
