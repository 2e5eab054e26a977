"""jaxcnn: the step that `jaxcnn train` compiles, with its metrics."""

import jax
import numpy as np

from jaxcnn import runtime
from jaxcnn.config import default_config
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.layout import Layout
from jaxcnn.models import PUBLISHED_FOR
from jaxcnn.train.experiment import Experiment, resolve
from jaxcnn.train.state import init_state
from jaxcnn.train.step import make_train_step

FIELDS = {"simple_cnn": {"dropout_rate": 0.3}}


def compiled_step(name: str, images, labels, dtype: str, **fields):
    """(the compiled step, and what it takes: state, batch and recipe, on the device)."""
    config = default_config()
    config.model.update({"name": name, "dtype": dtype, **FIELDS.get(name, {}), **fields})
    config.data.validation_fraction = 0.0
    config.train.update({"duration": "100000 steps", "global_batch_size": len(images)})
    config = resolve(config)
    layout = Layout.over_all_devices()
    classes = tuple(map(str, range(PUBLISHED_FOR[name][1])))
    dataset = dataset_from_arrays((images, labels), None, 0.0, classes)
    experiment = Experiment.of(config, dataset.spec, layout)
    model, recipe = experiment.model, layout.replicate(experiment.recipe)
    state = init_state(model, recipe, dataset.spec.image_shape, 0, layout)
    batch = {"image": images, "label": labels, "mask": np.ones(len(images), bool)}
    batch = layout.put_batch(batch)
    out = layout.of_state(state), None
    step = jax.jit(make_train_step(model), donate_argnums=0, out_shardings=out)
    return step.lower(state, batch, recipe).compile(), state, batch, recipe


def make_step(name: str, images, labels, dtype: str, **fields):
    """A function that takes `count` training steps on one batch and waits for the last."""
    runtime.prepare()
    step, state, batch, recipe = compiled_step(name, images, labels, dtype, **fields)

    def steps(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, metrics = step(state, batch, recipe)
        jax.block_until_ready((state, metrics))

    return steps
