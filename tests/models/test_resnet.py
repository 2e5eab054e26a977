import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import create_model, features
from jaxcnn.models.resnet import BasicBlock
from tests.models.zoo import QUICK, variables_for


def test_shortcut_subsamples_and_pads_with_zeros(rng):
    """With the convolutions at zero, a block is its shortcut: x[::2, ::2] between new channels."""
    model = create_model("resnet20_cifar", num_classes=10, norm="none", kernel_init="zeros")
    block = BasicBlock(
        kit=model.kit(train=False),
        width=8,
        stride=2,
        shortcut="pad",
        last_scale_init=nn.initializers.ones_init(),
        drop_path_rate=0.0,
        cardinality=1,
        inner_factor=1,
        stride_in_1x1=False,
    )
    x = rng.random(size=(1, 6, 6, 4)).astype(np.float32)
    y = block.init_with_output(jax.random.key(0), x)[0]
    np.testing.assert_array_equal(y[..., 2:6], x[:, ::2, ::2])
    assert not y[..., :2].any()
    assert not y[..., 6:].any()


def test_remat_changes_no_number(rng):
    images = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    plain, remat = (
        create_model("resnet20_cifar", num_classes=3, width=4, stage_sizes=(1, 1, 1), remat=remat)
        for remat in (False, True)
    )
    variables = variables_for(plain, (8, 8, 3))

    def gradient(model):
        def objective(params):
            logits, _ = model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            return jnp.sum(jnp.sin(logits))

        params = variables["params"]
        return jax.jit(jax.grad(objective)).lower(params).compile(QUICK)(params)

    for ours, theirs in zip(
        jax.tree.leaves(gradient(plain)), jax.tree.leaves(gradient(remat)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def init(model, images):
    key = jax.random.key(0)
    return jax.jit(lambda k: model.init(k, images, train=False)).lower(key).compile(QUICK)(key)


def test_zero_init_residual_begins_as_the_shortcuts(rng):
    """Each block is then the activation of its shortcut, and the network one of stem and shortcuts."""
    images = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    sizes = {"width": 4, "stage_sizes": (1, 1), "stem": "cifar", "shortcut": "pad"}
    model = create_model("resnet18", num_classes=3, zero_init_residual=True, **sizes)
    seen = features(model, init(model, images), images)
    np.testing.assert_array_equal(seen["stage1"], seen["stem"])
    np.testing.assert_array_equal(seen["stage2"][..., 2:6], seen["stem"][:, ::2, ::2])

    preact = create_model(
        "preact_resnet18", num_classes=3, zero_init_residual=True, width=4, stage_sizes=(2,)
    )
    seen = features(preact, init(preact, images), images)
    np.testing.assert_array_equal(seen["stage1"], seen["stem"])


def test_drop_path_drops_whole_branches_more_often_towards_the_end(rng):
    """Of an example, a branch is there, scaled by 1/(1 − rate), or not at all."""
    block = BasicBlock(
        kit=create_model("resnet18", num_classes=3, norm="none", kernel_init="normal_0.01").kit(
            train=True
        ),
        width=4,
        stride=1,
        shortcut="pad",
        last_scale_init=nn.initializers.ones_init(),
        drop_path_rate=0.25,
        cardinality=1,
        inner_factor=1,
        stride_in_1x1=False,
    )
    x = 10 + rng.random((400, 3, 3, 4)).astype(np.float32)
    variables = block.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, x)
    branch = block.clone(drop_path_rate=0.0).apply(variables, x) - x
    difference = block.apply(variables, x, rngs={"dropout": jax.random.key(2)}) - x
    kept = np.array([bool(d.any()) for d in difference])
    assert 0.68 < kept.mean() < 0.82
    expected = np.where(kept[:, None, None, None], branch / 0.75, 0)
    np.testing.assert_allclose(difference, expected, rtol=1e-4, atol=1e-4)


def test_a_preactivation_program_grows_with_the_depth_and_not_with_its_square():
    """Twice the blocks, twice the compiled program; 2.3 times where sums are computed in every block."""

    def size(blocks):
        model = create_model(
            "preact_resnet18", num_classes=3, width=4, stem="cifar", stage_sizes=(blocks,)
        )
        variables, images = variables_for(model, (8, 8, 3)), jnp.ones((4, 8, 8, 3))

        def total(params):
            return model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )[0].sum()

        lowered = jax.jit(jax.grad(total)).lower(variables["params"])
        return len(lowered.compile(QUICK).as_text())

    assert size(8) < 2.05 * size(4)
