import jax
import jax.numpy as jnp
import pytest

from jaxcnn import create_model

pytestmark = pytest.mark.fast


def test_lenet_pads_28_by_2():
    model = create_model("lenet5", num_classes=10)
    images = jnp.zeros((1, 28, 28, 1))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    assert variables["params"]["c5"]["kernel"].shape == (400, 120)
