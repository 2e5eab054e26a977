"""A trained run to look into, and networks that need no training."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxcnn import load_config, train
from jaxcnn.data.spec import DataSpec
from jaxcnn.layout import Layout
from jaxcnn.models import create_model
from tests.models.zoo import variables_for


@pytest.fixture(scope="package")
def workdir(tmp_path_factory):
    """20 steps of a small CNN on digits, with an augmentation; not to be changed."""
    settings = {
        "model.name": "simple_cnn", "model.widths": "(4, 8)", "data.placement": "device",
        "data.augment": "[{'name': 'pad_and_crop', 'padding': 2}]", "schedule.warmup": "0 steps",
        "train.duration": "20 steps",
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("trained")
    train(load_config("digits_lenet", settings), folder / "run")
    return folder / "run"


@pytest.fixture
def untrained():
    """Makes what a picture needs of a run: (model's name, image shape, its settings) → a run."""

    def make(name, shape, **fields):
        model = create_model(name, num_classes=3, **fields)
        ones = np.ones(shape[-1], np.float32)
        spec = DataSpec(shape, ("cat", "dog", "emu"), 100 * ones, 50 * ones, "uint8")
        variables = variables_for(model, shape)
        config = SimpleNamespace(model=SimpleNamespace(name=name))
        layout = Layout.on(jax.devices()[0])
        return SimpleNamespace(
            model=model, variables=variables, spec=spec, config=config, layout=layout
        )

    return make
