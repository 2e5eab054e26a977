import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.cpu.forms import computed_once, plain_forms, use_cpu_forms


def test_computed_once_is_the_identity_and_so_is_its_gradient():
    x = jnp.array([-np.inf, -1.0, -0.0, 0.0, 2.0, np.inf, np.nan])
    np.testing.assert_array_equal(jax.jit(computed_once)(x), x)
    weights = jnp.arange(1.0, 8.0)
    gradient = jax.jit(jax.grad(lambda x: jnp.nansum(weights * computed_once(x))))
    np.testing.assert_array_equal(gradient(jnp.ones(7)), weights)


def test_plain_forms_hold_within():
    here = jax.default_backend() == "cpu"
    assert use_cpu_forms() == here
    with plain_forms():
        assert not use_cpu_forms()
    assert use_cpu_forms() == here
