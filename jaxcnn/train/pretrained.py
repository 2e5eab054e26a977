"""Pretrained weights, from a converted model or another run."""

import logging
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from jaxcnn.data.dataset import Dataset, load_dataset
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError, suggestion
from jaxcnn.layout import Layout
from jaxcnn.models.classifier import Classifier
from jaxcnn.train.evaluate import evaluate_split
from jaxcnn.train.experiment import Experiment
from jaxcnn.train.saved_run import load_run
from jaxcnn.train.step import make_eval_step
from jaxcnn.train.views import check_views
from jaxcnn.transfer.adopt import Weights, adopt
from jaxcnn.transfer.converted import MODEL_FILE, load_converted

log = logging.getLogger(__name__)


def load_model(directory: str | Path) -> tuple[Classifier, dict]:
    """Loads a model and its variables from the output of `jaxcnn convert` or a run's workdir.

    Of a run, the best checkpoint is used.

    Returns:
      The module, and {'params': …, 'batch_stats': …} for its `apply`.

    Raises:
      UserError: the directory contains neither, or is damaged.
    """
    weights = load_weights(directory)
    return weights.model, weights.variables


def load_weights(directory: str | Path) -> Weights:
    """Loads a model, its variables and its class names, as `load_model`."""
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: there is no such directory")
    if (directory / MODEL_FILE).exists():
        model, variables, about = load_converted(directory)
        names = about.get("class_names")
        return Weights(model, variables, names and tuple(names), about)
    if not (directory / "config.json").exists():
        raise UserError(
            f"{directory} holds neither a converted model (model.json) nor a run (config.json)"
        )
    run = load_run(directory)
    variables = {name: tree for name, tree in run.variables.items() if tree}
    about = {"model": run.config.model.name, **run.spec.to_json()}
    return Weights(
        run.model.clone(replicas=None, layout=None, precision=None),
        variables,
        run.spec.class_names,
        about,
    )


def load_pretrained(config: ConfigDict, experiment: Experiment, spec: DataSpec) -> dict | None:
    """The initial variables of a run from `config.init_from`; None if that is empty.

    Raises:
      UserError: the directory cannot be read, or contains the weights of another model; or a parameter
        is neither taken over nor trained.
    """
    if not config.init_from:
        if config.reinitialize:
            raise UserError(
                f"config.reinitialize={list(config.reinitialize)} has no effect without "
                "config.init_from"
            )
        return None
    source = load_weights(config.init_from)
    variables, lines = _adopted(config, source, experiment.model, spec)
    for line in lines:
        log.info("weights of %s: %s", config.init_from, line)
    taken_over = flatten_dict(variables["params"], sep="/")
    if random := sorted(experiment.recipe.groups.frozen - set(taken_over)):
        raise UserError(
            f"config.init_from={config.init_from!r}: {random[0]} is not taken over, and would stay "
            "random, as it is not trained"
        )
    return variables


def _adopted(
    config: ConfigDict, source: Weights, model: Classifier, spec: DataSpec
) -> tuple[dict, list[str]]:
    setting = f"config.init_from={config.init_from!r}"
    return adopt(source, model, spec.image_shape, spec.class_names, setting, config.reinitialize)


def _normalised_for(source: Weights, dataset: Dataset, config: ConfigDict) -> Dataset:
    """The data set, normalised as the weights' own data unless config.data says how."""
    data, about, spec = config.data, source.about, dataset.spec
    if data.statistics != "train" or data.mean:
        return dataset
    known = about.get("pixel_dtype") == spec.pixel_dtype and len(about["mean"]) == len(spec.mean)
    if not known:
        log.warning(
            "%s does not say how its images were normalised; those of this data are, with its own mean "
            "and standard deviation (config.data.statistics or mean and std set others)",
            config.init_from,
        )
        return dataset
    log.info("images are normalised as those that %s was trained on", config.init_from)
    mean, std = (np.array(about[name], np.float32) for name in ("mean", "std"))
    return replace(dataset, spec=replace(spec, mean=mean, std=std))


def evaluate_pretrained(config: ConfigDict, split: str, tta: str = "") -> dict[str, float | int]:
    """Evaluates the weights of `config.init_from` on a split of the config's data.

    Args:
      tta: a name of `views.VIEWS`, to average class probabilities over its views; or ''.

    Returns:
      Each metric by name, and 'count'.

    Raises:
      UserError: there are no such weights, they are for other classes, or the data has no such
        split.
    """
    check_views(tta, config)
    if not config.init_from:
        raise UserError("config.init_from='' must be the directory of the weights to evaluate")
    dataset = load_dataset(config.data.to_dict())
    spec = dataset.spec
    if split not in dataset.splits:
        raise UserError(f"split={split!r}: {suggestion(split, dataset.splits)}")
    if spec.targets:
        raise UserError(
            "config.init_from: regression weights predict in the unit of the data that they were "
            "trained on; evaluate the run itself, by its workdir"
        )
    layout = Layout.over_all_devices()
    experiment = Experiment.of(config, spec, layout)
    source = load_weights(config.init_from)
    variables, lines = _adopted(config, source, experiment.model, spec)
    if "head" not in variables.get("params", {}):
        raise UserError(f"config.init_from={config.init_from!r}: {lines[0]}; train it first")
    return evaluate_split(
        jax.jit(make_eval_step(experiment.model, tta)),
        layout.replicate(variables),
        layout.replicate(experiment.recipe.scoring),
        HostFeed(_normalised_for(source, dataset, config), layout),
        split,
        config.eval.global_batch_size,
    )
