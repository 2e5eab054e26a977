"""What classifiers have in common: which settings matter in evaluation, and the replicas."""

from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import create_model
from jaxcnn.errors import UserError
from tests.models.zoo import QUICK, kinds, small, variables_for

# Of every network: the settings that are for training alone, with other values than the defaults.
# A dtype rounds otherwise, but is the same function.
TRAINING = {
    "dropout_rate": 0.4, "aux_dropout_rate": 0.4, "drop_path_rate": 0.4, "kernel_init": "orthogonal",
    "head_init": "orthogonal", "zero_init_residual": True, "batch_norm_mode": "frozen",
    "batch_norm_momentum": 0.5, "ghost_batch_size": 4, "aux_heads": True, "aux_weight": 0.1,
    "remat": True, "replicas": 3, "dense_as_conv": True,
}  # fmt: skip
OTHERS = {
    "num_classes",
    "parent",
    "name",
    "dtype",
    "param_dtype",
    "layout",
    "precision",
    "frozen_statistics",
    "frozen_trunk",
}


@pytest.mark.parametrize("name", kinds())
def test_the_settings_for_training_alone(name):
    model, _ = small(name)
    settings = {field.name for field in fields(model)}
    assert settings & (TRAINING.keys() | OTHERS) == model.TRAINING_ONLY


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet", "vgg11"])
def test_they_leave_evaluation_as_it_is(name, rng):
    model, shape = small(name)
    changed = {key: value for key, value in TRAINING.items() if hasattr(model, key)}
    other = model.clone(**changed)
    assert model.evaluation_differences(other) == []
    variables = variables_for(model, shape)
    images = rng.normal(size=(2, *shape)).astype(np.float32)

    def both(variables, images):
        return [network.apply(variables, images, train=False) for network in (model, other)]

    ours, theirs = jax.jit(both).lower(variables, images).compile(QUICK)(variables, images)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_differences_in_evaluation_are_said_in_words():
    there = create_model("resnet18", num_classes=10, norm="group", stage_sizes=[1, 2])
    here = create_model("resnet18", num_classes=5, stage_sizes=(1, 2), activation="gelu")
    assert there.evaluation_differences(here) == [
        "activation is relu there and gelu here",
        "norm is group there and batch here",
    ]


def test_per_replica_takes_the_replicas_of_the_model():
    def trained(**fields):
        model = create_model("simple_cnn", num_classes=3, batch_norm_mode="per_replica", **fields)
        images = jnp.zeros((6, 8, 8, 1))
        variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images[:1], train=False))
        return jax.eval_shape(
            lambda v: model.apply(v, images, train=True, mutable=["batch_stats"])[0], variables
        )

    assert trained(replicas=3).shape == (6, 3)
    with pytest.raises(UserError, match="cannot divide a batch of 6 among 4 devices"):
        trained(replicas=4)
    with pytest.raises(UserError, match="'per_replica' needs the number of replicas"):
        trained()
