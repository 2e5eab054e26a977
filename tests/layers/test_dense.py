import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxcnn.layers.conv import EmptyLayerError
from jaxcnn.layers.dense import WindowDense

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("window", [1, 3])
def test_a_dense_layer_on_every_window(window, rng):
    images = rng.normal(size=(2, 5, 4, 3)).astype(np.float32)
    zeros, normal = nn.initializers.zeros_init(), nn.initializers.lecun_normal()
    layer = WindowDense(7, window, kernel_init=normal, bias_init=zeros)
    variables = layer.init(jax.random.key(0), images[:, :window, :window])
    dense = nn.Dense(7)
    flat = images[:, :window, :window].reshape(2, -1)
    shapes = [jax.tree.map(np.shape, v) for v in (variables, dense.init(jax.random.key(0), flat))]
    assert shapes[0] == shapes[1]

    outputs = layer.apply(variables, images)
    assert outputs.shape == (2, 6 - window, 5 - window, 7)
    for row, column in np.ndindex(outputs.shape[1:3]):
        part = images[:, row : row + window, column : column + window].reshape(2, -1)
        expected = dense.apply(variables, part)
        np.testing.assert_allclose(outputs[:, row, column], expected, rtol=1e-4, atol=1e-5)


def test_an_image_smaller_than_the_window():
    zeros = nn.initializers.zeros_init()
    layer = WindowDense(7, 3, kernel_init=zeros, bias_init=zeros, name="fc6")
    with pytest.raises(EmptyLayerError, match="would be empty"):
        layer.init(jax.random.key(0), np.zeros((1, 2, 5, 3), np.float32))
