import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import create_model, list_models
from jaxcnn.errors import UserError
from jaxcnn.models import MODELS
from jaxcnn.models.resnet import BasicBlock

# name → (image shape, classes, parameters). The catalogue's counts; the rest by formula.
COUNTS = {
    "linear": ((28, 28, 1), 10, (784 + 1) * 10),
    "mlp": ((28, 28, 1), 10, (784 + 1) * 256 + (256 + 1) * 128 + (128 + 1) * 10),
    "simple_cnn": (
        (28, 28, 1),
        10,
        (9 + 1) * 32 + 2 * 32 + (9 * 32 + 1) * 64 + 2 * 64 + (49 * 64 + 1) * 128 + 129 * 10,
    ),
    "lenet5": ((32, 32, 1), 10, 61_706),
    "resnet20_cifar": ((32, 32, 3), 10, 269_722),
}
SMALL = {"mlp": {"widths": (8,)}, "simple_cnn": {"widths": (4, 4)}, "resnet20_cifar": {"width": 4}}


def initialized(name, shape=None, classes=None, **fields):
    default_shape, default_classes, _ = COUNTS[name]
    shape, classes = shape or default_shape, classes or default_classes
    model = create_model(name, num_classes=classes, **fields)
    init = jax.jit(lambda key: model.init(key, jnp.zeros((1, *shape)), train=False))
    return model, init(jax.random.key(0)), shape


def test_every_model_is_in_the_table():
    assert list_models() == sorted(COUNTS)
    assert list_models("resnet*") == ["resnet20_cifar"]


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_count(name):
    shape, classes, count = COUNTS[name]
    model = create_model(name, num_classes=classes)
    variables = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


def test_lenet_pads_28_by_2():
    model = create_model("lenet5", num_classes=10)
    images = jnp.zeros((1, 28, 28, 1))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    assert variables["params"]["c5"]["kernel"].shape == (400, 120)


@pytest.mark.parametrize("name", COUNTS)
def test_train_and_eval_modes(name, rng):
    model, variables, shape = initialized(name, dropout_rate=0.5, **SMALL.get(name, {}))
    images = rng.normal(size=(4, *shape)).astype(np.float32)

    evaluate = jax.jit(lambda variables: model.apply(variables, images, train=False))
    logits = evaluate(variables)
    assert logits.shape == (4, 10)
    assert logits.dtype == jnp.float32

    def objective(params):
        logits, changed = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(1)},
        )
        return (logits**2).sum(), changed.get("batch_stats", {})

    grads, batch_stats = jax.jit(jax.grad(objective, has_aux=True))(variables["params"])
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(grad).all(), path
        assert np.abs(grad).max() > 0, path
    moved = jax.tree.map(
        lambda old, new: bool((old != new).any()), variables.get("batch_stats", {}), batch_stats
    )
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("name", COUNTS)
def test_bfloat16_computes_in_bfloat16_and_keeps_the_rest_in_float32(name):
    model, variables, shape = initialized(name, dtype="bfloat16", **SMALL.get(name, {}))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    logits, seen = jax.eval_shape(
        lambda: model.apply(
            variables, images, train=False, capture_intermediates=True, mutable=["intermediates"]
        )
    )
    assert logits.dtype == jnp.float32
    (head,) = seen["intermediates"]["head"]["__call__"]
    assert head.dtype == jnp.bfloat16


def test_resnet_shapes_by_stage():
    model = create_model("resnet20_cifar", num_classes=10)
    images = jnp.zeros((1, 32, 32, 3))
    _, seen = jax.eval_shape(
        lambda: model.init_with_output(
            jax.random.key(0), images, train=False, capture_intermediates=True
        )
    )
    seen = seen["intermediates"]
    sizes = {name: seen[name]["__call__"][0].shape[1:] for name in seen if name.startswith("stage")}
    assert sizes == {
        f"stage{stage}_block{block}": (64 >> stage, 64 >> stage, 8 << stage)
        for stage in (1, 2, 3)
        for block in (1, 2, 3)
    }


def test_shortcut_subsamples_and_pads_with_zeros(rng):
    """With the convolutions at zero, a block is its shortcut: x[::2, ::2] between new channels."""
    block = BasicBlock(
        width=8,
        stride=2,
        conv=lambda width, strides=1, name=None: (
            lambda x: jnp.zeros((*x[:, ::strides, ::strides].shape[:3], width))
        ),
        norm=lambda name: lambda x: x,
        act=lambda x: x,
    )
    x = rng.normal(size=(1, 6, 6, 4)).astype(np.float32)
    y = block.apply({}, x)
    np.testing.assert_array_equal(y[..., 2:6], x[:, ::2, ::2])
    assert not y[..., :2].any()
    assert not y[..., 6:].any()


def test_wrong_names_and_fields():
    with pytest.raises(
        UserError, match="model 'resnet20' does not exist; did you mean 'resnet20_cifar'"
    ):
        create_model("resnet20", num_classes=10)
    with pytest.raises(UserError, match="model 'lenet5' has no setting 'dropout'; did you mean"):
        create_model("lenet5", num_classes=10, dropout=0.5)
    with pytest.raises(UserError, match="num_classes=0 must be at least 1"):
        create_model("lenet5", num_classes=0)
    assert "num_classes" not in MODELS.settings("lenet5")


def test_remat_changes_neither_names_nor_numbers(rng):
    images = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    plain, remat = (
        create_model("resnet20_cifar", num_classes=3, width=4, stage_sizes=(1, 1, 1), remat=remat)
        for remat in (False, True)
    )
    variables = plain.init(jax.random.key(0), images, train=False)
    again = remat.init(jax.random.key(0), images, train=False)
    assert jax.tree.structure(variables) == jax.tree.structure(again)

    def gradient(model):
        def objective(params):
            logits, _ = model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            return jnp.sum(jnp.sin(logits))

        return jax.jit(jax.grad(objective))(variables["params"])

    for ours, theirs in zip(
        jax.tree.leaves(gradient(plain)), jax.tree.leaves(gradient(remat)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
