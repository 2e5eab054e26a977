"""What is trained of a network that starts from given weights."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxcnn.errors import UserError
from jaxcnn.models import create_model
from jaxcnn.models.classifier import Classifier, abstract_variables
from jaxcnn.models.depth import parts_by_depth
from jaxcnn.transfer.plan import transfer_plan

UNSET = {"mode": "", "top": 1, "depth_multiplier": 1.0, "frozen_statistics": []}
IMAGES = (16, 16, 3)


def resnet(**fields):
    return create_model("resnet20_cifar", num_classes=4, width=4, **fields)


def plan(model, **settings):
    return transfer_plan(UNSET | settings, model, IMAGES)


def initialised(model, images):
    return jax.jit(model.init, static_argnames="train")(jax.random.key(0), images, train=False)


def trained_forward(model, variables, images):
    @jax.jit
    def forward(variables, images):
        rngs = {"dropout": jax.random.key(1)}
        return model.apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)

    return forward(variables, images)


def trained(model, planned) -> set[str]:
    params = abstract_variables(model, IMAGES)["params"]
    return {path[0] for path in flatten_dict(params) if "/".join(path) not in planned.frozen}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("linear", ["head"]),
        ("lenet5", ["stem", "stage2", "pre_logits", "head"]),
        ("vgg11", ["stem", "stage2", "stage3", "stage4", "stage5", "pre_logits", "head"]),
        ("resnet20_cifar", ["stem", "stage1", "stage2", "stage3", "head"]),
        ("googlenet", ["stem", "stage1", "stage2", "stage3", "stage4", "head"]),
        ("preact_resnet18", ["stem", "stage1", "stage2", "stage3", "stage4", "head"]),
    ],
)
def test_parts_by_depth(name, parts):
    model = create_model(name, num_classes=4)
    found = parts_by_depth(model, (32, 32, 3))
    assert list(found) == parts
    params = abstract_variables(model, (32, 32, 3))["params"]
    assert sorted(key for keys in found.values() for key in keys) == sorted(params)


def test_a_linear_probe_trains_the_head_on_what_an_evaluation_computes():
    model = resnet(dropout_rate=0.5)
    planned = plan(model, mode="linear_probe")
    assert trained(model, planned) == {"head"}
    images = np.random.default_rng(0).normal(size=(4, *IMAGES)).astype(np.float32)
    variables = initialised(model, images)
    variables["batch_stats"] = jax.tree.map(lambda leaf: leaf + 0.5, variables["batch_stats"])
    in_training, changed = trained_forward(planned.model, variables, images)
    expected = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    np.testing.assert_array_equal(in_training, expected)
    jax.tree.map(np.testing.assert_array_equal, changed["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize(
    ("top", "parts"), [(0, ["head"]), (1, ["stage3", "head"]), (2, ["stage2", "stage3", "head"])]
)
def test_finetune_top(top, parts):
    model = resnet()
    planned = plan(model, mode="finetune_top", top=top)
    assert {key.split("_")[0] for key in trained(model, planned)} == set(parts)
    assert planned.rules[0].endswith(", ".join(parts))
    images = np.random.default_rng(0).normal(size=(4, *IMAGES)).astype(np.float32)
    variables = initialised(model, images)
    _, changed = trained_forward(planned.model, variables, images)
    before, after = (flatten_dict(tree["batch_stats"]) for tree in (variables, changed))
    moved = {
        path[0].split("_")[0] for path in before if not np.array_equal(before[path], after[path])
    }
    assert moved == set(parts) - {"head"}


class Scaled(Classifier):
    """A network with a parameter outside its layers, whose logits are not its head's."""

    @nn.compact
    def __call__(self, images, train):
        gain = self.param("gain", nn.initializers.constant(3.0), ())
        x = self.endpoint("stage1", nn.Dense(4, name="dense")(images.mean(axis=(1, 2))))
        return gain * self.head(self.kit(train), self.endpoint("pre_logits", x))


class Convolutional(Classifier):
    """A network whose head is a convolution."""

    @nn.compact
    def __call__(self, images, train):
        x = self.endpoint("stage1", nn.Conv(4, (3, 3), name="conv")(images))
        return nn.Conv(self.num_classes, (1, 1), name="head")(x).mean(axis=(1, 2))


def test_parameters_outside_the_layers():
    model = Scaled(num_classes=4)
    assert not plan(model, mode="finetune", depth_multiplier=0.5).frozen
    assert "gain" in plan(model, mode="finetune_top").frozen


def test_a_probe_needs_a_linear_head():
    with pytest.raises(
        UserError, match="needs a network that ends in a layer 'head' on an endpoint"
    ):
        plan(Convolutional(num_classes=4), mode="linear_probe")


def test_the_learning_rate_falls_with_depth():
    planned = plan(resnet(), mode="finetune", depth_multiplier=0.5)
    assert not planned.frozen
    assert planned.multipliers["stage3_block1/conv1/kernel"] == 0.5
    assert planned.multipliers["stage1_block3/norm2/scale"] == 0.125
    assert planned.multipliers["stem_conv/kernel"] == 0.0625
    assert "head/kernel" not in planned.multipliers
    assert planned.rules[0].endswith("at learning rate × 0.0625, 0.125, 0.25, 0.5, 1")


def test_statistics_are_kept_by_pattern():
    model = resnet()
    planned = plan(model, mode="finetune", frozen_statistics=["^stem", "block2/norm1$"])
    images = np.random.default_rng(0).normal(size=(4, *IMAGES)).astype(np.float32)
    variables = initialised(model, images)
    _, changed = trained_forward(planned.model, variables, images)
    before, after = (flatten_dict(tree["batch_stats"], sep="/") for tree in (variables, changed))
    kept = {path.rpartition("/")[0] for path in before if np.array_equal(before[path], after[path])}
    assert kept == {"stem_norm", *(f"stage{i}_block2/norm1" for i in (1, 2, 3))}
    assert planned.rules[1] == (
        "running statistics kept (^stem | block2/norm1$): 4 of 19 batch normalisations"
    )


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet20_cifar", {"mode": "finetune_top", "top": 5}, "top=5: before its head the network has 4"),
        ("resnet20_cifar", {"mode": "finetune", "frozen_statistics": ["nrom"]},
         "frozen_statistics.0='nrom' matches no batch normalisation; there are stage1_block1/norm1"),
        ("lenet5", {"mode": "finetune", "frozen_statistics": ["c1"]}, "has no batch normalisation"),
    ],
)  # fmt: skip
def test_refusals(name, settings, message):
    model = create_model(name, num_classes=4)
    with pytest.raises(UserError) as error:
        plan(model, **settings)
    assert message in str(error.value)
