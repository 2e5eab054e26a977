"""Fifty steps of each optimizer against its definition, written out plainly, in float64."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.optim.optimizers import OPTIMIZERS, create_optimizer, learning_rate

MATRIX = np.array([[3.0, 0.5], [0.5, 1.0]])
RATE = [0.02 * (1 - step / 100) for step in range(50)]


def gradient(w, step):
    return MATRIX @ w + np.sin(step)  # not quite the same problem at every step


def nesterov(w, momentum=0.9):
    v = np.zeros_like(w)
    for step in range(50):
        g = gradient(w, step)
        v = momentum * v + g
        w = w - RATE[step] * (g + momentum * v)
        yield w


def adam(w, b1=0.9, b2=0.999, eps=1e-8):
    m, n = np.zeros_like(w), np.zeros_like(w)
    for step in range(50):
        g = gradient(w, step)
        m, n = b1 * m + (1 - b1) * g, b2 * n + (1 - b2) * g**2
        m_hat, n_hat = m / (1 - b1 ** (step + 1)), n / (1 - b2 ** (step + 1))
        w = w - RATE[step] * m_hat / (np.sqrt(n_hat) + eps)
        yield w


DEFINITIONS = {"nesterov": nesterov, "adam": adam}


def test_every_optimizer_has_its_definition_here():
    assert sorted(DEFINITIONS) == OPTIMIZERS.names()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_trajectory(name):
    with jax.enable_x64(True):
        start = np.array([1.0, -2.0])
        settings = {"name": name, **OPTIMIZERS.settings(name), "learning_rate": 0.02}
        tx = create_optimizer(settings, lambda step: 1 - jnp.asarray(step, float) / 100)
        w, state = jnp.array(start), tx.init(jnp.array(start))
        for step, expected in enumerate(DEFINITIONS[name](start)):
            updates, state = tx.update(gradient(np.asarray(w), step), state, w)
            w = w + updates
            np.testing.assert_allclose(w, expected, rtol=1e-9)
            np.testing.assert_allclose(learning_rate(state), RATE[step], rtol=1e-12)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_definition_and_the_registry_agree_on_defaults(name):
    settings = OPTIMIZERS.settings(name)
    for parameter in list(inspect.signature(DEFINITIONS[name]).parameters.values())[1:]:
        assert settings[parameter.name] == parameter.default


def test_a_setting_of_another_optimizer_is_refused():
    with pytest.raises(
        UserError, match="optimizer 'adam' has no setting 'momentum'; .*b1, b2, eps"
    ):
        create_optimizer({"name": "adam", "learning_rate": 1.0, "momentum": 0.9}, lambda step: 1.0)
