"""jaxcnn: the step that `jaxcnn train` compiles, with its metrics."""

import jax
import numpy as np

from jaxcnn import runtime
from jaxcnn.config import default_config
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.layout import make_mesh, put_batch, replicated
from jaxcnn.models import PUBLISHED_FOR
from jaxcnn.train.experiment import Experiment, resolve
from jaxcnn.train.state import init_state
from jaxcnn.train.step import compile_step

FIELDS = {"simple_cnn": {"dropout_rate": 0.3}}


def compiled_step(name: str, images, labels, dtype: str, **fields):
    """(the compiled step, the state, the batch on the device)."""
    config = default_config()
    config.model.update({"name": name, "dtype": dtype, **FIELDS.get(name, {}), **fields})
    config.data.validation_fraction = 0.0
    config.train.update({"duration": "100000 steps", "global_batch_size": len(images)})
    config = resolve(config)
    mesh = make_mesh()
    classes = tuple(map(str, range(PUBLISHED_FOR[name][1])))
    dataset = dataset_from_arrays((images, labels), None, 0.0, classes)
    experiment = Experiment.of(config, dataset, devices=mesh.size)
    state = init_state(
        experiment.model, experiment.recipe, dataset.image_shape, 0, replicated(mesh)
    )
    batch = {"image": images, "label": labels, "mask": np.ones(len(images), bool)}
    batch = put_batch(batch, mesh)
    step = compile_step(experiment.model, experiment.recipe, state, batch, replicated(mesh))
    return step, state, batch


def make_step(name: str, images, labels, dtype: str, **fields):
    """A function that takes `count` training steps on one batch and waits for the last."""
    runtime.prepare()
    step, state, batch = compiled_step(name, images, labels, dtype, **fields)

    def steps(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, metrics = step(state, batch)
        jax.block_until_ready((state, metrics))

    return steps
