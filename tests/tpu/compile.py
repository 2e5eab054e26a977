"""Every family's training step, in small, compiled for TPUs that are not there: `make test-tpu`.

Not part of `make test`, which needs no compiler for TPUs.
"""

import contextlib
import gc

import jax
import numpy as np
import pytest

from jaxcnn.config import default_config
from jaxcnn.cpu.forms import forms_for, plain_forms
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.diagnose.dry_run import dry_run
from jaxcnn.diagnose.tpus import Topology
from jaxcnn.layout import Layout
from jaxcnn.models import MODELS
from jaxcnn.models.classifier import abstract_variables
from tests.conftest import DIGITS
from tests.models.zoo import kinds, small

SLICE = "v5e:2x2"


@pytest.fixture(autouse=True)
def forgotten():
    """Compiled programs are not kept: all of them take more than 24 GB."""
    yield
    jax.clear_caches()
    gc.collect()


def config_of(name: str, **fields):
    """A config for a small model, and data for one batch of it."""
    model, shape = small(name, **fields)
    config = default_config()
    settings = {key: getattr(model, key) for key in MODELS.settings(name)}
    config.model.update({"name": name, **settings})
    config.train.update({"duration": "10 steps", "global_batch_size": 16})
    config.schedule.warmup = "0 steps"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, *shape)).astype(np.uint8)
    labels = np.arange(16) % 10
    return config, dataset_from_arrays((images, labels), validation_fraction=0.0)


@pytest.mark.parametrize("name", kinds())
def test_every_family_compiles(name):
    config, dataset = config_of(name, dtype="bfloat16")
    found = dry_run(config, dataset, Topology.of(SLICE))
    assert found.devices == 4
    assert found.needs.flop > 0
    assert found.needs.collectives.keys() == {"all-reduce"}
    assert "it fits" in found.table()


@pytest.mark.parametrize("name", ["v4:2x2x1", "v5p:2x2x1", "v6e:1x1", "2*v5e:2x4"])
def test_every_kind_of_slice(name):
    config, dataset = config_of("mlp")  # whose step libtpu compiles in seconds for one chip too
    found = dry_run(config, dataset, Topology.of(name))
    assert found.devices == {"v6e:1x1": 1, "2*v5e:2x4": 16}.get(name, 4)


@pytest.mark.parametrize("placement", ["host", "device"])
def test_both_placements(placement):
    config, dataset = config_of("simple_cnn")
    config.data.placement = placement
    assert dry_run(config, dataset, Topology.of(SLICE)).needs.flop > 0


def test_the_forms_are_those_of_the_tpu():
    """Traced for a TPU, on this machine, a network has the operations of plain XLA."""
    model, shape = small("simple_cnn", pooling="max", norm="layer")  # no order of its own
    layout = Layout.over(Topology.of(SLICE).devices())
    images = jax.ShapeDtypeStruct((8, *shape), "float32", sharding=layout.batch)
    variables = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout.replicated),
        abstract_variables(model, shape),
    )
    gradient = jax.jit(jax.grad(lambda v, x: model.apply(v, x, train=True).sum()))

    def text(context):
        with context:
            return gradient.lower(variables, images).as_text()

    assert text(forms_for(layout.platform)) == text(plain_forms())
    assert text(contextlib.nullcontext()) != text(plain_forms()) or jax.default_backend() != "cpu"


def test_a_step_that_does_not_fit():
    config, dataset = config_of("mlp", widths=(10**6, 10**4))
    with pytest.raises(Exception, match=r"^config.train.global_batch_size=16 does not fit these"):
        dry_run(config, dataset, Topology.of("v5e:1x1"))


def test_on_the_command_line(run_cli):
    code, out, _ = run_cli(
        "train", f"--config={DIGITS}", "--dry_run", f"--topology={SLICE}", "--config.model.name=mlp"
    )  # fmt: skip
    assert code == 0
    assert "devices               4 × TPU v5 lite (v5e:2x2)" in out
    assert "on a v5e chip         from published speeds: a bound, not a measurement" in out
