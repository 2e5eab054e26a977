import numpy as np
import pytest

from jaxcnn.layers.lrn import local_response_norm

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("size", [5, 4, 1])
def test_by_the_definition(size, rng):
    x = rng.normal(size=(2, 3, 3, 7)).astype(np.float32)
    expected = np.empty_like(x)
    for channel in range(7):
        first = max(0, channel - size // 2)
        near = x[..., first : channel + (size - 1) // 2 + 1]
        expected[..., channel] = x[..., channel] / (2 + 0.3 / size * (near**2).sum(-1)) ** 0.75
    ours = local_response_norm(x, size=size, alpha=0.3, name="lrn")
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_alexnets_constants(rng):
    x = 30 * rng.normal(size=(1, 2, 2, 5)).astype(np.float32)
    middle = x[..., 2] / (2 + 1e-4 / 5 * (x**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(local_response_norm(x, name="lrn")[..., 2], middle, rtol=1e-5)
