"""Weights to start from: a converted model's, or another run's."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from jaxcnn.data.dataset import load_dataset
from jaxcnn.errors import UserError, suggestion
from jaxcnn.layout import make_mesh, replicated
from jaxcnn.models.classifier import Classifier, abstract_variables
from jaxcnn.train.evaluate import evaluate
from jaxcnn.train.experiment import measures, model_for
from jaxcnn.train.feed import HostFeed
from jaxcnn.train.saved_run import load_run
from jaxcnn.train.state import evaluation_variables
from jaxcnn.train.step import make_eval_step
from jaxcnn.train.views import check_views
from jaxcnn.transfer.converted import MODEL_FILE, load_converted


def load_model(directory: str | Path) -> tuple[Classifier, dict]:
    """A model and its variables, from what `jaxcnn convert` wrote or from a run's workdir.

    Of a run, the best checkpoint is taken.

    Returns:
      The module, and {'params': …, 'batch_stats': …} as its `apply` takes them.

    Raises:
      UserError: the directory holds neither, or is damaged.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: there is no such directory")
    if (directory / MODEL_FILE).exists():
        return load_converted(directory)
    if not (directory / "config.json").exists():
        raise UserError(
            f"{directory} holds neither a converted model (model.json) nor a run (config.json)"
        )
    run = load_run(directory)
    variables = evaluation_variables(run.state)
    return run.model, {name: tree for name, tree in variables.items() if tree}


# Settings under which the same weights are the same function in evaluation.
_ANOTHER_TRAINING = {
    "num_classes", "parent", "name", "dropout_rate", "aux_dropout_rate", "drop_path_rate", "dtype",
    "param_dtype", "remat", "kernel_init", "head_init", "zero_init_residual", "batch_norm_mode",
    "batch_norm_momentum", "ghost_batch_size", "aux_heads", "aux_weight", "dense_as_conv",
}  # fmt: skip


def load_pretrained(
    directory: str, model: Classifier, image_shape: tuple[int, int, int]
) -> dict[str, Mapping]:
    """The variables of `directory` that a model starts from.

    All of them, but for heads where the classes are others in number, and for auxiliary heads where the
    model has none.

    Raises:
      UserError: the directory cannot be read, or holds the weights of another network.
    """
    source, variables = load_model(directory)
    problem = f"config.init_from={directory!r} holds the weights of another network"
    if type(source) is not type(model):
        raise UserError(
            f"{problem}: a {type(source).__name__}, and this is a {type(model).__name__}"
        )
    settings = {field.name for field in fields(model)} - _ANOTHER_TRAINING
    changed = [
        f"{name} is {_value(source, name)} there and {_value(model, name)} here"
        for name in sorted(settings)
        if _value(source, name) != _value(model, name)
    ]
    if changed:
        raise UserError(f"{problem}: {'; '.join(changed)}")

    given = flatten_dict(variables)
    expected = flatten_dict(abstract_variables(model, image_shape))
    if source.num_classes != model.num_classes:
        given = {path: value for path, value in given.items() if not path[1].endswith("head")}
    if not getattr(model, "aux_heads", False):
        given = {path: value for path, value in given.items() if not path[1].startswith("aux")}
    wrong = [
        f"{'/'.join(path)} is {given[path].shape} there and {expected[path].shape} here"
        for path in given
        if path in expected and given[path].shape != expected[path].shape
    ]
    if wrong:
        raise UserError(f"{problem}, for other images: {wrong[0]}")
    return unflatten_dict({path: np.asarray(value) for path, value in given.items()})


def _value(model: Classifier, setting: str) -> Any:
    value = getattr(model, setting)
    return tuple(value) if isinstance(value, list) else value


def evaluate_pretrained(config: ConfigDict, split: str, views: str = "") -> dict[str, float | int]:
    """Evaluates the weights of `config.init_from` on a split of the config's data.

    Args:
      views: of `views.VIEWS`, those whose class probabilities are averaged; or ''.

    Returns:
      {'loss', 'accuracy', 'count'}

    Raises:
      UserError: there are no such weights, or they are for another number of classes.
    """
    check_views(views, config)
    if not config.init_from:
        raise UserError("config.init_from='' must be the directory of the weights to evaluate")
    dataset = load_dataset(config.data.to_dict())
    if split not in dataset.splits:
        raise UserError(f"--split={split}: {suggestion(split, dataset.splits)}")
    if dataset.targets:
        raise UserError(
            "config.init_from: a regression's weights answer in the unit of the data that they were "
            "trained on; evaluate its run, with --workdir"
        )
    outputs = dataset.outputs
    model = model_for(config, dataset.image_shape, outputs)
    variables = load_pretrained(config.init_from, model, dataset.image_shape)
    if "head" not in variables.get("params", {}):
        raise UserError(
            f"config.init_from={config.init_from!r} has a head for another number of classes than the "
            f"data's {outputs}; train it first"
        )
    mesh = make_mesh()
    variables = jax.device_put(variables, replicated(mesh))
    eval_step = jax.jit(make_eval_step(model, *measures(config, dataset.targets), views))
    batch_size = config.eval.global_batch_size
    return evaluate(eval_step, variables, HostFeed(dataset, mesh), split, batch_size)
