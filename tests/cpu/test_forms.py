import contextlib

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.cpu.forms import computed_once, forms_for, plain_forms, use_cpu_forms
from jaxcnn.layers.conv import Conv
from jaxcnn.layers.pooling import max_pool

_BY_TWO = (2, 2), (2, 2), ((0, 0), (0, 0))


def test_computed_once_is_the_identity_and_so_is_its_gradient():
    x = jnp.array([-np.inf, -1.0, -0.0, 0.0, 2.0, np.inf, np.nan])
    np.testing.assert_array_equal(jax.jit(computed_once)(x), x)
    weights = jnp.arange(1.0, 8.0)
    gradient = jax.jit(jax.grad(lambda x: jnp.nansum(weights * computed_once(x))))
    np.testing.assert_array_equal(gradient(jnp.ones(7)), weights)


def test_forms_hold_within():
    here = jax.default_backend() == "cpu"
    assert use_cpu_forms() == here
    with plain_forms():
        assert not use_cpu_forms()
        with forms_for("cpu"):
            assert use_cpu_forms()
        assert not use_cpu_forms()
    with forms_for("tpu"):
        assert not use_cpu_forms()
    assert use_cpu_forms() == here


def test_no_trace_for_one_platform_serves_another():
    """In the same process, of the same functions: a layer, and a jitted function around it."""
    images = jnp.zeros((2, 9, 9, 2))
    layer = Conv(4, (3, 3), padding=1)
    variables = layer.init(jax.random.key(0), images)
    step = jax.jit(jax.grad(lambda v, x: max_pool(jax.jit(layer.apply)(v, x), *_BY_TWO).sum()))

    def lowered(context):
        with context:
            return step.lower(variables, images).as_text()

    here = lowered(contextlib.nullcontext())
    there, plain = lowered(forms_for("tpu")), lowered(plain_forms())
    assert "select_and_scatter" in there
    assert "select_and_scatter" not in here
    assert there == plain
    assert lowered(forms_for("cpu")) == lowered(contextlib.nullcontext()) == here
