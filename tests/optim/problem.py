"""Two problems to take steps on: a quadratic form that moves, and the parameters of a small network."""

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxcnn.optim.chain import create_optimizer, hyperparameters
from jaxcnn.optim.schedule import Schedule

# A quadratic form, and where the steps down it start.
MATRIX = np.array([[3.0, 0.5], [0.5, 1.0]])
START = np.array([1.0, -2.0])
# The learning rate of each of fifty steps, and the schedule that gives it for a peak of 0.02.
RATE = [0.02 * (1 - step / 100) for step in range(50)]
FALLING = Schedule(Partial(lambda step: 1 - jnp.asarray(step, float) / 100))
CONSTANT = Schedule(Partial(lambda step: 1.0))
# Two layers, as a model names them.
PARAMS = {
    "conv1": {"kernel": np.linspace(-1, 1, 36).reshape(3, 3, 2, 2), "bias": np.ones(2)},
    "head": {"kernel": np.linspace(1, -1, 6).reshape(2, 3), "bias": np.zeros(3)},
}


def gradient(w, step):
    return MATRIX @ w + np.sin(step)  # not quite the same problem at every step


def trajectory(settings, schedule=FALLING):
    """Fifty steps from START in float64: the parameters after each."""
    tx = create_optimizer(settings, schedule)
    w = jnp.array(START)
    state = tx.init(w)
    for step in range(50):
        updates, state = tx.update(gradient(np.asarray(w), step), state, w)
        w = w + updates
        np.testing.assert_allclose(hyperparameters(state)["learning_rate"], RATE[step], rtol=1e-12)
        yield np.asarray(w)
