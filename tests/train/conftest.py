"""A batch for tests of the training step."""

import jax.numpy as jnp
import pytest

from tests.train.problem import SHAPE


@pytest.fixture
def batch(rng):
    return {
        "image": jnp.array(rng.normal(size=(8, *SHAPE)), jnp.float32),
        "label": jnp.array(rng.integers(0, 3, 8), jnp.int32),
        "mask": jnp.ones(8, bool),
    }
