"""The public names."""

import importlib
import subprocess
import sys
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn.data.split import Source, Split
from jaxcnn.limits import AT_LEAST_1, POSITIVE, SHARE
from jaxcnn.train.losses import Loss
from tests.conftest import ROOT
from tests.test_imports import imports_of

pytestmark = pytest.mark.fast

NAMES = {
    "train", "evaluate", "predict", "load_config", "resolve", "default_config", "create_model",
    "list_models", "load_model", "load_run", "features", "UserError", "register_model",
    "register_optimizer", "register_schedule", "register_loss", "register_source",
    "register_augmentation", "register_observer", "__version__",
}  # fmt: skip


def test_every_kind_of_part_can_be_decorated(tmp_path):
    """A schedule, a loss and a source that are registered by a decorator train a run together."""

    @jaxcnn.register_source("two_greys")
    def two_greys(resize: int = 0, count: Annotated[int, AT_LEAST_1] = 64):
        del resize
        labels = np.arange(count, dtype=np.int32) % 2
        images = np.where(labels, 200, 50).astype(np.uint8).repeat(16).reshape(count, 4, 4, 1)
        return Source({"train": Split(images, labels)}, ("dark", "light"))

    @jaxcnn.register_schedule("halves")
    def halves(length, at: Annotated[float, SHARE] = 0.5):
        return lambda step: jnp.where(step < at * length.steps, 1.0, 0.5)

    @jaxcnn.register_loss("squared_margin")
    def squared_margin(logits, labels, mask, margin: Annotated[float, POSITIVE] = 1.0):
        wanted = margin * (2 * jax.nn.one_hot(labels, logits.shape[1]) - 1)
        each = jnp.where(mask, jnp.square(logits - wanted).sum(axis=1), 0.0)
        return Loss(each.sum(), mask.sum(), each)

    config = jaxcnn.default_config()
    config.data = {"source": "two_greys", "count": 40, "validation_fraction": 0.2}
    config.model.name, config.train.global_batch_size = "linear", 8
    config.train.duration, config.eval.every = "20 steps", "20 steps"
    config.optimizer.learning_rate, config.schedule.warmup = 0.01, "0 steps"
    config.schedule, config.loss = {"name": "halves", "at": 0.4}, {"name": "squared_margin"}
    result = jaxcnn.train(config, tmp_path / "run")
    assert result["final"]["validation"]["accuracy"] == 1.0
    recorded = jaxcnn.load_run(tmp_path / "run").config
    assert (recorded.data.count, recorded.schedule.at, recorded.loss.margin) == (40, 0.4, 1.0)


def test_dir_lists_the_public_names():
    assert set(dir(jaxcnn)) == NAMES
    assert set(jaxcnn.__all__) == NAMES - {"__version__"}


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_every_public_name_is_there_and_can_be_called(name):
    value = getattr(jaxcnn, name)
    assert callable(value)
    if name != "train":  # the package, which can be called
        assert value is getattr(importlib.import_module(f"jaxcnn.{jaxcnn._HOME[name]}"), name)


def test_what_editors_see_is_what_is_loaded():
    """The imports under TYPE_CHECKING name the homes of the lazy table, and `train` its function."""
    homes = {f"jaxcnn.{home}" for home in jaxcnn._HOME.values()} | {"jaxcnn.train.start"}
    assert set(imports_of(ROOT / "jaxcnn" / "__init__.py")) == homes


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'jaxcnn' has no attribute 'trian'"):
        jaxcnn.trian  # noqa: B018


def test_importing_jaxcnn_loads_neither_jax_nor_tensorflow():
    code = "import sys, jaxcnn; assert not {'jax', 'tensorflow', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
