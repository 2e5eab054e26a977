import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import create_model, features
from tests.models.zoo import small, variables_for


def test_the_two_groups_of_2012():
    """The paper's kernels: conv 2 is 5×5×48, conv 3 3×3×256, conv 4 and 5 3×3×192."""
    model, shape = small("alexnet_2012")
    params = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)
    )["params"]
    kernels = [params[f"conv{i}"]["kernel"].shape for i in range(1, 6)]
    assert kernels == [
        (11, 11, 3, 96), (5, 5, 48, 256), (3, 3, 256, 384), (3, 3, 192, 384), (3, 3, 192, 256),
    ]  # fmt: skip


def test_the_biases_of_2012():
    model, shape = small("alexnet_2012")
    biases = jax.jit(
        lambda: {
            name: layer["bias"]
            for name, layer in model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)[
                "params"
            ].items()
        }
    )()
    ones = {name for name, bias in biases.items() if bias.all()}
    assert ones == {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert all((biases[name] == 1).all() for name in ones)
    assert not any(biases[name].any() for name in set(biases) - ones)


def test_fully_connected_layers_slide_over_a_larger_image(rng):
    """With the same weights; on an image of the size trained on, they give the same logits."""
    fields = {"num_classes": 5, "hidden": 16}
    dense = create_model("alexnet", **fields)
    sliding = create_model("alexnet", **fields, dense_as_conv=True)
    variables = variables_for(dense, (224, 224, 3))
    images = rng.normal(size=(1, 256, 288, 3)).astype(np.float32)

    trained_on = images[:, :224, :224]
    np.testing.assert_allclose(
        sliding.apply(variables, trained_on, train=False),
        dense.apply(variables, trained_on, train=False),
        rtol=1e-4,
        atol=1e-5,
    )
    seen = features(sliding, variables, images)
    scores = seen["score_map"]
    assert scores.shape == (1, 2, 3, 5)  # the features have a stride of 32 pixels
    logits = sliding.apply(variables, images, train=False)
    np.testing.assert_allclose(logits, scores.mean((1, 2)), rtol=1e-5, atol=1e-6)
    # One window of the last features, by the network that knows one window alone.
    part = seen["stage2"][:, 1:7, 2:8].reshape(1, -1)
    for name in ("fc6", "fc7"):
        layer = variables["params"][name]
        part = np.maximum(part @ layer["kernel"] + layer["bias"], 0)
    head = variables["params"]["head"]
    expected = part @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(scores[:, 1, 2], expected, rtol=1e-3, atol=1e-4)
