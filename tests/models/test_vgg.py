import jax
import jax.numpy as jnp
import pytest

from jaxcnn import create_model


def kernels(name, shape=(32, 32, 3), **fields):
    model = create_model(name, num_classes=10, **fields)
    params = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)
    )["params"]
    return {layer: leaves["kernel"].shape for layer, leaves in params.items() if "kernel" in leaves}


def test_c_ends_its_last_three_stages_with_1x1():
    c, d = kernels("vgg16_c"), kernels("vgg16")
    assert {name for name in c if c[name] != d[name]} == {f"stage{i}_conv3" for i in (3, 4, 5)}
    assert c["stage3_conv3"] == (1, 1, 256, 256)


@pytest.mark.parametrize(
    ("name", "layers"), [("vgg11", 11), ("vgg13", 13), ("vgg16", 16), ("vgg19", 19)]
)
def test_as_many_layers_with_weights_as_the_name_says(name, layers):
    assert len(kernels(name)) == layers


def test_a_head_for_small_images():
    small = kernels("vgg16_bn", pool_size=1, hidden=64)
    assert (small["fc6"], small["fc7"]) == ((512, 64), (64, 64))
