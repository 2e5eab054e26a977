import json
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import create_model, features, list_models
from jaxcnn.errors import UserError
from jaxcnn.models import MODELS, PUBLISHED_FOR, count_parameters
from tests.conftest import ROOT
from tests.models.zoo import COUNTS, QUICK, kinds, small, variables_for

KINDS = kinds()


def test_every_model_is_in_the_table():
    assert list_models() == sorted(COUNTS)
    assert list_models("resnet2*") == ["resnet20_cifar"]


def test_parameter_counts(run_cli):
    """Of every model, as `jaxcnn models --json` lists them."""
    code, out, _ = run_cli("models", "--json")
    assert code == 0
    assert {entry["name"]: entry["parameters"] for entry in json.loads(out)} == COUNTS


@pytest.mark.parametrize(
    ("name", "count"), [("googlenet", 13_004_888), ("inception_v3", 27_161_264)]
)
def test_parameter_counts_with_auxiliary_heads(name, count):
    shape, classes = PUBLISHED_FOR[name]
    assert count_parameters(create_model(name, num_classes=classes, aux_heads=True), shape) == count


@pytest.mark.parametrize("name", KINDS)
def test_train_and_eval_modes(name, rng):
    """Finite gradients that reach every parameter; statistics that move in training alone."""
    model, shape = small(name)
    variables = variables_for(model, shape)
    images = rng.normal(size=(4, *shape)).astype(np.float32)

    def objective(params):
        logits, changed = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats", "aux_logits"],
            rngs={"dropout": jax.random.key(1)},
        )
        answers = [logits, *jax.tree.leaves(changed.get("aux_logits", {}))]
        total = sum(jnp.sin(answer).sum() for answer in answers)
        return total, (logits, changed.get("batch_stats", {}))

    def everything(variables):
        evaluated, changed = model.apply(variables, images, train=False, mutable=["batch_stats"])
        trained = jax.grad(objective, has_aux=True)(variables["params"])
        return evaluated, changed.get("batch_stats", {}), *trained

    evaluated, still, grads, (logits, moved) = (
        jax.jit(everything).lower(variables).compile(QUICK)(variables)
    )
    for answer in (evaluated, logits):
        assert answer.shape == (4, 10)
        assert answer.dtype == jnp.float32
        assert np.isfinite(answer).all()
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(grad).all(), path
        assert np.abs(grad).max() > 0, path
    before = variables.get("batch_stats", {})
    jax.tree.map(np.testing.assert_array_equal, before, still)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), before, moved)))


@pytest.mark.parametrize("name", KINDS)
def test_bfloat16_computes_in_bfloat16_and_keeps_the_rest_in_float32(name):
    model, shape = small(name, dtype="bfloat16")
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    variables = jax.eval_shape(
        lambda images: model.init(jax.random.key(0), images, train=False), images
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}

    def apply(variables, images):
        return model.apply(
            variables,
            images,
            train=True,
            mutable=["batch_stats", "intermediates"],
            rngs={"dropout": jax.random.key(0)},
        )

    logits, changed = jax.eval_shape(apply, variables, images)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(changed.get("batch_stats", {}))} <= {
        jnp.dtype("float32")
    }
    seen = changed["intermediates"]
    assert "pre_logits" in seen
    computed = {name: values[0].dtype for name, values in seen.items() if name != "score_map"}
    if name != "linear":
        assert set(computed.values()) == {jnp.dtype("bfloat16")}, computed


@pytest.mark.parametrize("name", KINDS)
def test_a_head_of_zeros_begins_at_ln_c(name):
    """All logits are then zero, whatever the features are."""
    model, shape = small(name, head_init="zeros")
    images = jnp.zeros((1, *shape))
    head = jax.jit(lambda key: model.init(key, images, train=False)["params"]["head"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(head(jax.random.key(0))))


@pytest.mark.parametrize(
    "name", ["lenet5", "vgg16", "densenet40_12", "resnet20_cifar", "wide_resnet16_8"]
)
def test_the_first_loss_is_near_ln_c(name, rng):
    """docs/models.md has all, in full size, and what explains the distance."""
    model, shape = small(name)
    images = rng.normal(size=(32, *shape)).astype(np.float32)
    labels = jnp.arange(32) % 10

    def loss(key):
        variables = model.init(key, images[:1], train=False)
        logits, _ = model.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()

    key = jax.random.key(0)
    assert abs(jax.jit(loss).lower(key).compile(QUICK)(key) - np.log(10)) < 0.5


@pytest.mark.parametrize("name", KINDS)
def test_features(name):
    model, shape = small(name)
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    seen = jax.eval_shape(lambda v, x: features(model, v, x), variables, images)
    names = [name for name in seen if name != "score_map"]
    stages = [name for name in names if name.startswith("stage")]
    if name in ("linear", "mlp"):
        assert set(names) == {*stages, "pre_logits"}
    else:
        assert set(names) == {"stem", *stages, "pre_logits"}
        assert len(stages) >= 2
        sizes = [seen[name].shape[1] for name in stages]
        assert sizes == sorted(sizes, reverse=True)
        assert all(len(seen[name].shape) == 4 for name in ("stem", *stages))
    assert stages == [f"stage{i}" for i in range(1, len(stages) + 1)]
    width = variables["params"]["head"]["kernel"].shape[0]
    assert seen["pre_logits"].shape == (2, width)


@pytest.mark.parametrize("name", [name for name in KINDS if "remat" in MODELS.settings(name)])
def test_remat_keeps_the_names(name):
    def names(**fields):
        model, shape = small(name, **fields)
        images = jnp.zeros((1, *shape))
        return jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))

    assert names(remat=True) == names(remat=False)


ON_DEVICES = """
import sys
import jax, numpy as np
from jaxcnn.layout import Layout
from tests.models.zoo import QUICK, small, variables_for

assert jax.device_count() == 8
layout = Layout.over_all_devices()
for name in sys.argv[1:]:
    model, shape = small(name)
    variables = variables_for(model, shape)
    images = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)

    def apply(variables, images):
        return model.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
        )[0]

    alone = jax.jit(apply).lower(variables, images).compile(QUICK)(variables, images)
    shared = jax.device_put(images, layout.batch)
    weights = jax.device_put(variables, layout.replicated)
    together = jax.jit(apply).lower(weights, shared).compile(QUICK)(weights, shared)
    error = np.abs(np.asarray(together) - alone).max() / np.abs(alone).max()
    assert error < 1e-3, (name, error)
    print(name)
"""


def test_every_model_works_on_eight_devices():
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "NPROC": "32"}
    done = subprocess.run(
        [sys.executable, "-c", ON_DEVICES, *KINDS],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == list(KINDS), done.stderr[-2000:]


def test_wrong_names_and_fields():
    with pytest.raises(
        UserError, match="model 'resnet20_cfar' does not exist; did you mean 'resnet20_cifar'"
    ):
        create_model("resnet20_cfar", num_classes=10)
    with pytest.raises(UserError, match="model 'lenet5' has no setting 'dropout'; did you mean"):
        create_model("lenet5", num_classes=10, dropout=0.5)
    with pytest.raises(UserError, match="num_classes=0 must be at least 1"):
        create_model("lenet5", num_classes=0)
    assert "num_classes" not in MODELS.settings("lenet5")


@pytest.mark.parametrize(
    ("name", "setting", "value", "message"),
    [
        ("resnet18", "stem", "tiny", "stem='tiny' must be one of 'imagenet', 'cifar'"),
        ("resnet18", "shortcut", "b", "shortcut='b' must be one of 'projection', 'pad', 'none'"),
        ("resnet18", "norm", "bach", "; did you mean 'batch'"),
        ("densenet121", "norm", "group", "norm_groups=32 does not divide the 8 channels of layer 'stem_norm'; valid there: 1, 2, 4, 8"),
        ("vgg11_bn", "batch_norm_mode", "syn", "; did you mean 'sync'"),
    ],
)  # fmt: skip
def test_wrong_values(name, setting, value, message):
    def initialise():
        model, shape = small(name, **{setting: value})
        return model.init(jax.random.key(0), jnp.zeros((2, *shape)), train=True)

    with pytest.raises(UserError, match=re.escape(message)):
        jax.eval_shape(initialise)


def test_zero_init_residual_needs_a_norm():
    model, shape = small("resnet18", norm="none", zero_init_residual=True)
    with pytest.raises(UserError, match="zero_init_residual=True needs a norm"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((2, *shape)), train=True))


@pytest.mark.parametrize("norm", ["layer", "group", "none"])
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "vgg16", "inception_v3", "mlp"])
def test_every_norm_in_every_family(name, norm):
    model, shape = small(name, norm=norm, norm_groups=2)
    variables = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((2, *shape)), train=True)
    )
    assert "batch_stats" not in variables
