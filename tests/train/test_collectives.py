"""What the devices send each other in a training step: gradients and statistics, no images."""

import json
import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.tree_util import Partial

from jaxcnn.diagnose.programs import collectives
from jaxcnn.layout import Layout
from jaxcnn.models import MODELS
from jaxcnn.optim.chain import create_optimizer
from jaxcnn.optim.schedule import Schedule
from jaxcnn.train.recipe import Recipe
from jaxcnn.train.state import abstract_state
from jaxcnn.train.step import make_train_step
from tests.conftest import ROOT
from tests.models.zoo import QUICK, kinds, small

BATCH_SIZE = 8
# Bytes at most, besides: the loss, accuracies, counts, the norm of the gradient; and what the bands of
# cpu/conv.py have more of than the kernels in them.
BESIDES = 4_000


def families() -> dict[str, str]:
    """A model of each class, and one with grouped convolutions."""
    found = {}
    for name in kinds():
        model, _ = small(name)
        found.setdefault((type(model).__name__, getattr(model, "cardinality", 1) > 1), name)
    return {f"{family}{', grouped' * grouped}": name for (family, grouped), name in found.items()}


def compiled(name: str):
    """The training step of a small model on all devices, and its state."""
    layout = Layout.over_all_devices()
    model, shape = small(name)
    model = model.clone(layout=layout)
    optimizer = {"name": "nesterov", "learning_rate": 0.1}
    recipe = Recipe(create_optimizer(optimizer, Schedule(Partial(lambda step: 1.0))))
    state = abstract_state(model, recipe, shape, layout)
    parts = {"image": (shape, jnp.float32), "label": ((), jnp.int32), "mask": ((), bool)}
    batch = {
        key: jax.ShapeDtypeStruct((BATCH_SIZE, *each), dtype, sharding=layout.batch)
        for key, (each, dtype) in parts.items()
    }
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    step = jax.jit(make_train_step(model), out_shardings=(shardings, None), compiler_options=QUICK)
    return step.lower(state, batch, recipe).compile().as_text(), state


def size(tree) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def main(names):
    """Prints, for each model, the bytes that are sent, and those of parameters and of statistics."""
    for name in names:
        program, state = compiled(name)
        sent = {kind: traffic.bytes for kind, traffic in collectives(program).items()}
        print(json.dumps([name, sent, size(state.params), size(state.batch_stats)]))


@pytest.fixture(scope="module")
def of_each_family():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "NPROC": "16"}
    code = f"from tests.train.test_collectives import main; main({[*families().values()]})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **flags}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("family", families())
def test_gradients_and_statistics_are_all_that_is_sent(of_each_family, family):
    """Batch normalisation sums two numbers per channel in each direction."""
    sent, params, statistics = of_each_family[families()[family]]
    assert sent.keys() == {"all-reduce"}
    assert params <= sent["all-reduce"] <= params + 2 * statistics + BESIDES


def test_every_family_is_there():
    classes = {type(small(name)[0]).__name__ for name in MODELS.names()}
    assert {family.partition(",")[0] for family in families()} == classes
    assert "ResNet, grouped" in families()
