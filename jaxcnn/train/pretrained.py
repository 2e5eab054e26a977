"""Pretrained weights, from a converted model, another run or the Hugging Face Hub."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from jaxcnn import hosts
from jaxcnn.data.dataset import Dataset, load_dataset
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError, suggestion
from jaxcnn.layout import Layout
from jaxcnn.models.classifier import Classifier
from jaxcnn.models.registry import MODELS, published_for
from jaxcnn.train.evaluate import evaluate_split
from jaxcnn.train.experiment import Experiment
from jaxcnn.train.saved_run import load_run
from jaxcnn.train.step import make_eval_step
from jaxcnn.train.views import check_views
from jaxcnn.transfer.adopt import Weights, adopt
from jaxcnn.transfer.convert import model_of, read_model
from jaxcnn.transfer.converted import MODEL_FILE, load_converted
from jaxcnn.transfer.hub import Repository, on_hub, open_repository, pinned

log = logging.getLogger(__name__)


def load_model(source: str | Path) -> tuple[Classifier, dict]:
    """Loads a model and its variables from the output of `jaxcnn convert` or a run's workdir.

    Of a run, the best checkpoint is used. 'hf://OWNER/REPO' is a repository of the Hugging Face Hub.

    Returns:
      The module, and {'params': …, 'batch_stats': …} for its `apply`.

    Raises:
      UserError: the directory contains neither, or is damaged; the repository cannot be reached, or
        holds no model of `list_models()` by its name.
    """
    weights = load_weights(source)
    return weights.model, weights.variables


def load_weights(source: str | Path) -> Weights:
    """Loads a model, its variables and its class names, as `load_model`."""
    if on_hub(source):
        repository = open_repository(source)
        name = model_of(repository)
        shape = tuple(repository.about.get("image_shape") or published_for(name)[0])
        return _read(repository, name, {}, shape)
    directory = Path(source)
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
        run.model.clone(
            replicas=None, layout=None, precision=None, frozen_statistics=(), frozen_trunk=False
        ),
        variables,
        run.spec.class_names,
        about,
    )


def _read(repository: Repository, name: str, fields: Mapping, image_shape: tuple) -> Weights:
    weights, _, said = read_model(name, repository, image_shape, fields)
    for line in (*repository.said, *said):
        log.info("%s", line)
    return weights


def _source(config: ConfigDict, spec: DataSpec) -> tuple[Weights, str]:
    """The weights of `config.init_from`, and where they are: with the commit, if that is a repository.

    A repository's are read as those of the config's model, which has settings that it does not state.
    """
    try:
        return _read_source(config, spec)
    except UserError as error:
        raise UserError(f"config.init_from: {error}") from error


def _read_source(config: ConfigDict, spec: DataSpec) -> tuple[Weights, str]:
    if not on_hub(config.init_from):
        return load_weights(config.init_from), config.init_from
    # One process asks, so that all get the same commit.
    address = hosts.from_primary(lambda: pinned(config.init_from))
    defaults = MODELS.settings(config.model.name)
    fields = {key: config.model[key] for key in defaults if config.model[key] != defaults[key]}
    weights = _read(open_repository(address), config.model.name, fields, spec.image_shape)
    return weights, address


def load_pretrained(
    config: ConfigDict, experiment: Experiment, spec: DataSpec
) -> tuple[dict | None, str]:
    """The initial variables of a run from `config.init_from`, and where they come from.

    Returns:
      None and '' if it is empty; a repository with its commit: 'hf://OWNER/REPO@COMMIT'.

    Raises:
      UserError: the weights cannot be read, or are those of another model; or a parameter is neither
        taken over nor trained.
    """
    if not config.init_from:
        if config.reinitialize:
            raise UserError(
                f"config.reinitialize={list(config.reinitialize)} has no effect without "
                "config.init_from"
            )
        return None, ""
    source, place = _source(config, spec)
    variables, lines = _adopted(config, source, experiment.model, spec)
    for line in (*lines, *_on_normalisation(source, spec)):
        log.info("weights of %s: %s", place, line)
    taken_over = flatten_dict(variables["params"], sep="/")
    if random := sorted(experiment.recipe.groups.frozen - set(taken_over)):
        raise UserError(
            f"config.init_from={config.init_from!r}: {random[0]} is not taken over, and would stay "
            "random, as it is not trained"
        )
    return variables, place


def _adopted(
    config: ConfigDict, source: Weights, model: Classifier, spec: DataSpec
) -> tuple[dict, list[str]]:
    setting = f"config.init_from={config.init_from!r}"
    return adopt(source, model, spec.image_shape, spec.class_names, setting, config.reinitialize)


def _normalised_for(source: Weights, dataset: Dataset, config: ConfigDict) -> Dataset:
    """The data set, normalised as the weights' own data unless config.data says how."""
    data, spec = config.data, dataset.spec
    if data.statistics != "train" or data.mean:
        return dataset
    if (theirs := _normalisation_of(source, spec)) is None:
        log.warning(
            "%s does not say how its images were normalised; those of this data are, with its own mean "
            "and standard deviation (config.data.statistics or mean and std set others)",
            config.init_from,
        )
        return dataset
    log.info("images are normalised as those that %s was trained on", config.init_from)
    mean, std = theirs
    return replace(dataset, spec=replace(spec, mean=mean, std=std))


def _normalisation_of(source: Weights, spec: DataSpec) -> np.ndarray | None:
    """Mean and standard deviation of the weights' own data, float32 (2, channels).

    None if they are not known, or for other pixels than those of `spec`.
    """
    about = source.about
    if about.get("pixel_dtype") != spec.pixel_dtype or len(about["mean"]) != len(spec.mean):
        return None
    return np.array([about["mean"], about["std"]], np.float32)


def _on_normalisation(source: Weights, spec: DataSpec) -> list[str]:
    """A log line if a run's images are not normalised as those of the weights."""
    theirs = _normalisation_of(source, spec)
    if theirs is None or np.allclose(theirs, [spec.mean, spec.std], rtol=1e-3):
        return []
    unit = 255 if spec.pixel_dtype == "uint8" else 1
    mean, std = (f"({', '.join(f'{value:.4g}' for value in row)},)" for row in theirs / unit)
    return [
        "this data has another mean and std than theirs, which "
        f"config.data.mean='{mean}' and config.data.std='{std}' take over"
    ]


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
    source, _ = _source(config, spec)
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
