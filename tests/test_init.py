"""The public names."""

import importlib
import subprocess
import sys

import pytest

import jaxcnn
from tests.conftest import ROOT
from tests.test_imports import imports_of

pytestmark = pytest.mark.fast

NAMES = {
    "train", "evaluate", "predict", "load_config", "resolve", "default_config", "create_model",
    "list_models", "load_model", "load_run", "features", "UserError", "register_model",
    "register_optimizer", "register_schedule", "register_loss", "register_source",
    "register_augmentation", "register_observer", "__version__",
}  # fmt: skip


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
