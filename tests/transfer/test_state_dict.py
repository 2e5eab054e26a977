import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn import create_model
from jaxcnn.errors import UserError
from jaxcnn.transfer.state_dict import (
    Matching,
    from_state_dict,
    num_classes_of,
    to_state_dict,
)
from jaxcnn.transfer.torch_names import namer
from tests.models.zoo import small, variables_for

FAMILIES = (
    "alexnet", "vgg11", "vgg11_bn", "googlenet", "inception_v3", "inception_v4",
    "inception_resnet_v2", "resnet18", "resnet50", "resnet20_cifar", "densenet121",
)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_there_and_back(name):
    model, shape = small(name)
    variables = variables_for(model, shape)
    tensors = to_state_dict(model, variables)
    assert num_classes_of(model, tensors) == 10
    again, matching = from_state_dict(model, tensors, shape, "here")
    count = len(flatten_dict(variables))
    assert matching == Matching(count, count, 1.0, [], [], [])
    assert jax.tree.structure(variables) == jax.tree.structure(again)
    jax.tree.map(np.testing.assert_array_equal, variables, again)


@pytest.fixture
def resnet():
    model, shape = small("resnet18")
    return model, shape, to_state_dict(model, variables_for(model, shape))


def test_layouts_and_names(resnet):
    model, shape, tensors = resnet
    assert tensors["conv1.weight"].shape == (8, 3, 7, 7)
    assert tensors["layer2.0.downsample.0.weight"].shape == (16, 8, 1, 1)
    assert tensors["fc.weight"].shape == (10, 64)
    assert tensors["bn1.num_batches_tracked"].dtype == np.int64
    kernel = variables_for(model, shape)["params"]["stem_conv"]["kernel"]
    np.testing.assert_array_equal(tensors["conv1.weight"][3, 1], kernel[:, :, 1, 3])


def test_what_is_flattened_has_its_channels_first_there(rng):
    """A hidden layer of torch sees (channel, row, column), ours (row, column, channel)."""
    model, shape = small("vgg11")
    tensors = to_state_dict(model, variables_for(model, shape))
    image = rng.normal(size=(2, 2, 32)).astype(np.float32)
    theirs = tensors["classifier.0.weight"] @ image.transpose(2, 0, 1).ravel()
    fc6 = variables_for(model, shape)["params"]["fc6"]["kernel"]
    np.testing.assert_allclose(image.ravel() @ fc6, theirs, rtol=1e-4, atol=1e-5)


def test_other_spellings(resnet):
    model, shape, tensors = resnet
    respelled = {
        key.replace("downsample", "shortcut").replace("fc.", "linear."): value
        for key, value in tensors.items()
        if not key.endswith("num_batches_tracked")
    }
    ours, _ = from_state_dict(model, respelled, shape, "here")
    jax.tree.map(np.testing.assert_array_equal, ours, variables_for(model, shape))


def test_timm_s_vgg_convolves_over_the_whole_map():
    model, shape = small("vgg11")
    variables = variables_for(model, shape)
    respelled = {
        key.replace("classifier.0.", "pre_logits.fc1.")
        .replace("classifier.3.", "pre_logits.fc2.")
        .replace("classifier.6.", "head.fc."): value
        for key, value in to_state_dict(model, variables).items()
    }
    for name, side in (("pre_logits.fc1.weight", model.pool_size), ("pre_logits.fc2.weight", 1)):
        respelled[name] = respelled[name].reshape(len(respelled[name]), -1, side, side)
    assert num_classes_of(model, respelled) == 10
    ours, _ = from_state_dict(model, respelled, shape, "here")
    jax.tree.map(np.testing.assert_array_equal, ours, variables)


def test_the_older_spelling_of_densenet():
    model, shape = small("densenet121")
    tensors = to_state_dict(model, variables_for(model, shape))
    older = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.")
        if "denselayer" in key
        else key: value
        for key, value in tensors.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    ours, _ = from_state_dict(model, older, shape, "here")
    jax.tree.map(np.testing.assert_array_equal, ours, variables_for(model, shape))


def test_strict_by_default(resnet):
    model, shape, tensors = resnet
    tensors["layer9.weight"] = tensors.pop("layer1.0.conv1.weight")
    with pytest.raises(UserError) as error:
        from_state_dict(model, tensors, shape, "x.pth")
    assert str(error.value) == (
        "the tensors of x.pth do not fit this ResNet: it lacks 1 (layer1.0.conv1.weight) and has a "
        "surplus of 1 (layer9.weight)"
    )
    ours, matching = from_state_dict(model, tensors, shape, "x.pth", strict=False)
    assert (matching.missing, matching.surplus) == (["layer1.0.conv1.weight"], ["layer9.weight"])
    assert matching.matched == matching.expected - 1
    assert 0.9 < matching.share < 1
    expected = flatten_dict(variables_for(model, shape))
    fresh = ("params", "stage1_block1", "conv1", "kernel")
    ours = flatten_dict(ours)
    assert 0.05 < ours[fresh].std() < 0.4
    assert (ours.pop(fresh) != expected.pop(fresh)).any()
    jax.tree.map(np.testing.assert_array_equal, unflatten_dict(ours), unflatten_dict(expected))


def test_a_wrong_shape_is_named(resnet):
    model, shape, tensors = resnet
    tensors["layer1.0.conv1.weight"] = np.zeros((8, 8, 5, 5), np.float32)
    with pytest.raises(UserError) as error:
        from_state_dict(model, tensors, shape, "x.pth", strict=False)
    assert str(error.value) == (
        "x.pth does not fit this ResNet: layer1.0.conv1.weight is 8×8×5×5, and must be 8×8×3×3"
    )


@pytest.mark.parametrize("strict", [True, False])
def test_nothing_that_matches_is_refused(resnet, strict):
    model, shape, _ = resnet
    with pytest.raises(UserError) as error:
        from_state_dict(model, {"a.weight": np.zeros(2)}, shape, "x.pth", strict)
    assert str(error.value).startswith(
        "the tensors of x.pth do not fit this ResNet: it has a.weight, and none of "
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named(resnet, value):
    model, shape, tensors = resnet
    tensors["bn1.weight"] = np.full(8, value, np.float32)
    with pytest.raises(UserError) as error:
        from_state_dict(model, tensors, shape, "x.pth")
    assert str(error.value) == "x.pth holds NaN or infinity, in 1 of 62 tensors (bn1.weight)"
    ours, matching = from_state_dict(model, tensors, shape, "x.pth", strict=False)
    assert matching.not_finite == ["bn1.weight"]
    np.testing.assert_array_equal(ours["params"]["stem_norm"]["scale"], tensors["bn1.weight"])


def test_integers_are_no_weights(resnet):
    model, shape, tensors = resnet
    tensors["conv1.weight"] = tensors["conv1.weight"].astype(np.int8)
    with pytest.raises(UserError) as error:
        from_state_dict(model, tensors, shape, "x.pth", strict=False)
    assert str(error.value) == (
        "x.pth does not fit this ResNet: conv1.weight is of int8, and must be of floats"
    )


def test_a_count_of_averages_is_no_tensor_of_a_network(resnet):
    model, shape, tensors = resnet
    tensors["n_averaged"] = np.int64(3)
    assert not from_state_dict(model, tensors, shape, "x.pth")[1].surplus


def test_a_model_that_torch_has_no_names_for():
    with pytest.raises(UserError, match="torch has no common names for the weights of a LeNet5"):
        namer(create_model("lenet5", num_classes=10))
