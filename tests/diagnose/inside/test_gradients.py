"""Gradients by pixel and Grad-CAM, against closed forms."""

import jax
import numpy as np
import pytest

from jaxcnn.diagnose.inside.gradients import after, grad_cam, saliency_of
from jaxcnn.models import features
from tests.models.zoo import QUICK

SMALL = {"stage_sizes": (1, 1), "width": 4}


def test_the_gradient_of_a_linear_network_is_its_matrix(untrained, rng):
    run = untrained("linear", (6, 5, 3))
    pixels, outputs = rng.integers(0, 256, (2, 6, 5, 3)), np.array([2, 0], np.int32)
    kernel = np.asarray(run.variables["params"]["head"]["kernel"])
    expected = np.abs(kernel[:, outputs].T.reshape(2, 6, 5, 3)).max(axis=-1)
    np.testing.assert_allclose(saliency_of(run, pixels, outputs), expected, rtol=1e-6)


def test_grad_cam_before_pooling_and_one_matrix_is_cam(untrained, rng):
    """Zhou et al. 2016: then αₖ is the matrix's entry, over the map's number of pixels."""
    run = untrained("resnet20_cifar", (12, 8, 3), **SMALL)
    pixels, outputs = rng.integers(0, 256, (3, 12, 8, 3)), np.array([1, 2, 0], np.int32)
    images = (pixels - run.spec.mean) / run.spec.std
    maps = np.asarray(features(run.model, run.variables, images)["stage2"])
    kernel = np.asarray(run.variables["params"]["head"]["kernel"])
    cam = np.einsum("nhwk,kn->nhw", maps, kernel[:, outputs])
    expected = np.maximum(cam, 0) / maps[0, ..., 0].size
    assert expected.any()
    found = grad_cam(run, pixels, outputs, "stage2")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape", "fields", "layer"),
    [
        ("lenet5", (16, 16, 1), {}, "stem"),
        ("mlp", (4, 4, 1), {"widths": (8, 4)}, "stage1"),
        ("resnet20_cifar", (8, 8, 3), {**SMALL, "remat": True}, "stage1"),
    ],
)
def test_after_a_layer_another_image_s_value_gives_its_logits(
    untrained, rng, name, shape, fields, layer
):
    run = untrained(name, shape, **fields)
    image, other = rng.normal(size=(2, 1, *shape)).astype(np.float32)

    def exchanged(variables, image, other):
        value, logits_after = after(run.model, variables, image, layer)
        of_other = features(run.model, variables, other)[layer]
        expected = [run.model.apply(variables, pixels, train=False) for pixels in (image, other)]
        return (logits_after(value), logits_after(of_other)), expected

    compute = jax.jit(exchanged, compiler_options=QUICK)
    (of_image, of_other), expected = compute(run.variables, image, other)
    np.testing.assert_allclose((of_image, of_other), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(of_image - of_other).max() > 1e-3
