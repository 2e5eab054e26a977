import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import create_model
from jaxcnn.train.recipe import Scoring
from jaxcnn.train.step import make_eval_step
from jaxcnn.train.views import VIEWS


def test_ten_crops_are_the_corners_the_middle_and_their_mirror_images(rng):
    images = jnp.array(rng.normal(size=(2, 16, 16, 3)), jnp.float32)
    views = VIEWS["ten_crop"](images)
    assert views.shape == (10, 2, 16, 16, 3)
    for view, (top, left) in zip(views, [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)], strict=False):
        crop = images[:, top : top + 14, left : left + 14]
        np.testing.assert_array_equal(view, jax.image.resize(crop, images.shape, "linear"))
    np.testing.assert_array_equal(views[5:], views[:5, :, :, ::-1])
    np.testing.assert_array_equal(VIEWS["center_crop"](images), views[4:5])


def test_multi_scale_is_ten_crops_of_five_scales(rng):
    images = jnp.array(rng.normal(size=(2, 32, 32, 3)), jnp.float32)
    views = VIEWS["multi_scale"](images)
    assert views.shape == (50, 2, 32, 32, 3)
    np.testing.assert_allclose(views[4], images, atol=1e-6)  # 224 of 224: the image itself
    np.testing.assert_array_equal(views[5:10], VIEWS["ten_crop"](images)[:5])


@pytest.mark.parametrize("views", VIEWS)
def test_probabilities_are_averaged(views, rng):
    model = create_model("simple_cnn", num_classes=3, widths=(4,))
    images = jnp.array(rng.normal(size=(5, 16, 16, 1)), jnp.float32)
    batch = {"image": images, "label": jnp.array([0, 1, 2, 0, 1]), "mask": jnp.arange(5) < 4}
    variables = model.init(jax.random.key(0), images, train=False)
    found = make_eval_step(model, views)(variables, batch, Scoring()).read()
    answers = [
        jax.nn.softmax(model.apply(variables, view, train=False)) for view in VIEWS[views](images)
    ]
    mean = np.mean(answers, axis=0)[:4]
    expected = -np.log(mean[np.arange(4), [0, 1, 2, 0]]).mean()
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["accuracy"] == (mean.argmax(axis=1) == [0, 1, 2, 0]).mean()
    assert found["count"] == 4


def test_a_probability_that_is_rounded_to_0_leaves_the_loss_finite():
    """Of outputs such as 0 and −200: the wrong class has no probability in float32."""
    model = create_model("linear", num_classes=2)
    images = jnp.ones((1, 8, 8, 1))
    variables = model.init(jax.random.key(0), images, train=False)
    variables = jax.tree.map(jnp.zeros_like, variables)
    variables["params"]["head"]["bias"] = jnp.array([0.0, -200.0])
    for label, loss in ((0, 0.0), (1, -np.log(np.finfo(np.float32).tiny))):
        batch = {"image": images, "label": jnp.array([label]), "mask": jnp.ones(1, bool)}
        found = make_eval_step(model, "center_crop")(variables, batch, Scoring()).read()
        assert found["loss"] == pytest.approx(loss)
