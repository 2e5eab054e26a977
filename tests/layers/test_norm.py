import os
import re
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.layers.norm import normalization
from tests.conftest import ROOT

pytestmark = pytest.mark.fast


def apply(norm, x, variables=None):
    layer = norm(name="norm")
    variables = variables or layer.init(jax.random.key(0), x)
    return layer.apply(variables, x, mutable=["batch_stats"])


def test_sync_is_flaxs_batch_norm_but_for_the_unbiased_running_variance(rng):
    x = rng.normal(3, 2, size=(8, 5, 5, 2)).astype(np.float32)
    ours, changed = apply(normalization("batch", train=True, momentum=0.8, epsilon=1e-3), x)
    flax = nn.BatchNorm(use_running_average=False, momentum=0.8, epsilon=1e-3)
    theirs, expected = flax.apply(flax.init(jax.random.key(0), x), x, mutable=["batch_stats"])
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    stats, theirs = changed["batch_stats"], expected["batch_stats"]
    np.testing.assert_allclose(stats["mean"], theirs["mean"], rtol=1e-6)
    unbiased = 0.8 + (theirs["var"] - 0.8) * 200 / 199
    np.testing.assert_allclose(stats["var"], unbiased, rtol=1e-6)


def test_ghost_batches_are_normalised_each_by_itself(rng):
    x = rng.normal(3, 2, size=(8, 3, 3, 2)).astype(np.float32)
    ghost = normalization("batch", train=True, mode="ghost", ghost_batch_size=4)
    outputs, changed = apply(ghost, x)
    sync = normalization("batch", train=True)
    halves = [apply(sync, half) for half in (x[:4], x[4:])]
    np.testing.assert_allclose(outputs, np.concatenate([half for half, _ in halves]), atol=1e-6)
    for name in ("mean", "var"):
        means = np.mean([stats["batch_stats"][name] for _, stats in halves], axis=0)
        np.testing.assert_allclose(changed["batch_stats"][name], means, rtol=1e-5)


def test_frozen_statistics_are_used_and_stand_still(rng):
    x = rng.normal(3, 2, size=(8, 3, 3, 2)).astype(np.float32)
    params = {"scale": np.array([2.0, 1.0]), "bias": np.array([0.5, 0.0])}
    variables = {"params": params, "batch_stats": {"mean": np.ones(2), "var": np.full(2, 4.0)}}
    frozen = normalization("batch", train=True, mode="frozen")
    outputs, changed = apply(frozen, x, variables)
    expected = (x - 1) / np.sqrt(4 + 1e-5) * params["scale"] + params["bias"]
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, changed["batch_stats"], variables["batch_stats"])


ON_EIGHT_DEVICES = """
import jax, numpy as np
from jaxcnn.layers.norm import normalization
from jaxcnn.layout import Layout
from tests.layers.test_norm import in_numpy

layout, rng = Layout.over_all_devices(), np.random.default_rng(0)
assert layout.replicas == 8
x, dy = rng.normal(3, 2, size=(2, 64, 3, 3, 2))
modes = {
    "sync": ({}, 1),
    "per_replica": ({"replicas": 8}, 8),
    "ghost, some on each device": ({"ghost_batch_size": 4}, 16),
    "ghost, over several devices": ({"ghost_batch_size": 16}, 4),
}
for mode, (settings, groups) in modes.items():
    norm = normalization("batch", train=True, mode=mode.partition(",")[0], dtype="float64", **settings)
    layer = norm(name="norm")
    variables = layer.init(jax.random.key(0), x)

    def outputs_and_gradient(x, dy):
        def apply(x):
            return layer.apply(variables, x, mutable=["batch_stats"])

        outputs, pull, changed = jax.vjp(apply, x, has_aux=True)
        stats = changed["batch_stats"]
        return outputs, *pull(dy), stats["mean"], stats["var"]

    found = jax.jit(outputs_and_gradient)(*jax.device_put((x, dy), layout.batch))
    for ours, expected in zip(found, in_numpy(x, dy, groups), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6, err_msg=mode)
try:
    norm = normalization("batch", train=True, mode="per_replica", replicas=8)
    norm(name="norm").init(jax.random.key(0), x[:12])
except Exception as error:
    assert str(error) == "batch_norm_mode='per_replica' cannot divide a batch of 12 among 8 devices"
    print("equal")
"""


def in_numpy(x, dy, groups, momentum=0.9, epsilon=1e-5):
    """Outputs, the gradient of the inputs, the running mean and the running variance.

    By Ioffe & Szegedy's formulas, each of the groups by itself; the running ones begin at 0 and 1.
    """
    x, dy = (each.reshape(groups, -1, *each.shape[1:]) for each in (x, dy))
    axes, values = (1, 2, 3), x[0].size // x.shape[-1]

    def mean(array):
        return array.mean(axes, keepdims=True)

    deviation = np.sqrt(x.var(axes, keepdims=True) + epsilon)
    outputs = (x - mean(x)) / deviation
    gradient = (dy - mean(dy) - outputs * mean(dy * outputs)) / deviation
    running_mean = (1 - momentum) * x.mean(axes).mean(0)
    running_var = momentum + (1 - momentum) * x.var(axes).mean(0) * values / (values - 1)
    shape = (-1, *x.shape[2:])
    return outputs.reshape(shape), gradient.reshape(shape), running_mean, running_var


def test_batch_norm_on_eight_devices_is_numpys_by_groups():
    environment = {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "NPROC": "32", "JAX_ENABLE_X64": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", ON_EIGHT_DEVICES],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


def test_per_replica_needs_the_number_of_replicas_in_training_alone(rng):
    x = rng.normal(3, 2, size=(1, 3, 3, 2)).astype(np.float32)
    layer = normalization("batch", train=False, mode="per_replica")(name="norm")
    variables = layer.init(jax.random.key(0), x)
    np.testing.assert_allclose(layer.apply(variables, x), x / np.sqrt(1 + 1e-5), rtol=1e-6)
    message = (
        "batch_norm_mode='per_replica' needs the number of replicas: create_model(…, replicas=N)"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        apply(normalization("batch", train=True, mode="per_replica"), x)


def test_per_replica_takes_its_groups_from_the_replicas(rng):
    """Whatever devices there are: two replicas are two ghost batches of half of the examples."""
    x = rng.normal(3, 2, size=(8, 3, 3, 2)).astype(np.float32)
    replicas = normalization("batch", train=True, mode="per_replica", replicas=2)
    ghost = normalization("batch", train=True, mode="ghost", ghost_batch_size=4)
    jax.tree.map(np.testing.assert_array_equal, apply(replicas, x), apply(ghost, x))


@pytest.mark.parametrize(("name", "groups"), [("layer", 1), ("group", 2), ("instance", 4)])
def test_norms_of_one_example(name, groups, rng):
    """Over the pixels and the channels of each group, by the definition."""
    x = rng.normal(3, 2, size=(2, 5, 5, 4)).astype(np.float32)
    outputs, changed = apply(normalization(name, train=True, groups=2), x)
    grouped = x.reshape(2, 25, groups, 4 // groups)
    mean, var = grouped.mean((1, 3), keepdims=True), grouped.var((1, 3), keepdims=True)
    expected = ((grouped - mean) / np.sqrt(var + 1e-5)).reshape(x.shape)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)
    assert not changed


def test_an_unknown_mode():
    with pytest.raises(
        UserError, match="batch_norm_mode 'syn' does not exist; did you mean 'sync'"
    ):
        normalization("batch", train=False, mode="syn")


@pytest.mark.parametrize("shape", [(4, 3), (4, 1, 1, 3)])
def test_instance_norm_refuses_single_values(shape):
    with pytest.raises(
        UserError, match="norm='instance' makes a constant of a channel that has one"
    ):
        normalization("instance", train=True)(name="norm").init(jax.random.key(0), jnp.ones(shape))


@pytest.mark.parametrize("name", ["batch", "layer", "instance", "group"])
def test_a_scale_can_begin_at_zero(name, rng):
    x = rng.normal(size=(2, 5, 5, 4)).astype(np.float32)
    norm = normalization(name, train=True, groups=2)
    layer = norm(name="norm", scale_init=nn.initializers.zeros_init())
    outputs, _ = layer.init_with_output(jax.random.key(0), x)
    assert not np.any(outputs)


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({}, (1, 1, 1, 3), "batch normalisation in training needs more than one value per channel"),
        ({"mode": "ghost", "ghost_batch_size": 3}, (8, 2, 2, 3), "batch_norm_mode='ghost' cannot divide a batch of 8 among parts of ghost_batch_size=3"),
    ],
)  # fmt: skip
def test_batch_norm_refuses(settings, shape, message):
    layer = normalization("batch", train=True, **settings)(name="norm")
    with pytest.raises(UserError, match=re.escape(message)):
        layer.init(jax.random.key(0), jnp.ones(shape))
