"""Turns a config into an experiment: resolves names, checks values, converts durations to steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jax.tree_util import Partial
from ml_collections import ConfigDict

from jaxcnn import config as configs
from jaxcnn.data.augment.table import AUGMENTATIONS, check_augmentations, create_augmentations
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.device import DeviceFeed
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.data.feeding.preparation import pixels_of
from jaxcnn.data.sources.table import SOURCES
from jaxcnn.data.spec import DataSpec
from jaxcnn.durations import Agenda, Every, Moments, RunLength
from jaxcnn.errors import UserError
from jaxcnn.layout import Layout
from jaxcnn.models import MODELS, create_model
from jaxcnn.models.classifier import Classifier, abstract_variables
from jaxcnn.models.fit import check_fits
from jaxcnn.optim.averaging import AVERAGES, create_averaging
from jaxcnn.optim.chain import check_averages, create_optimizer, gradient_clipping
from jaxcnn.optim.groups import parameter_groups
from jaxcnn.optim.optimizers import OPTIMIZERS
from jaxcnn.optim.schedule import Schedule, troughs
from jaxcnn.optim.schedules import SCHEDULES, create_schedule
from jaxcnn.programs import compiler_options
from jaxcnn.train.consistency import check_together, deciding_metrics
from jaxcnn.train.losses import LOSSES, OF_TARGETS, create_loss, losses_for, weighted
from jaxcnn.train.metrics import means_for, metrics_of
from jaxcnn.train.mixing import MIXES, create_mixes
from jaxcnn.train.observers import OBSERVERS
from jaxcnn.train.precision import precision_of_products, settle_precision
from jaxcnn.train.recipe import Recipe, Scoring
from jaxcnn.transfer.plan import Plan, transfer_plan

REGISTRIES = {
    "model": MODELS,
    "data": SOURCES,
    "augment": AUGMENTATIONS,
    "mix": MIXES,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "averaging": AVERAGES,
    "observers": OBSERVERS,
}


def load_config(path: str | Path, overrides: Mapping[str, str] | None = None) -> ConfigDict:
    """Loads a config file, applies overrides, fills in defaults and checks the result.

    Args:
      path: of a config file, or the name of a shipped config.
      overrides: dotted key → text, as on the command line: {"optimizer.learning_rate": "0.1"}.

    Raises:
      UserError: the file, a key, a type or a value is invalid.
    """
    return resolve(configs.load_config_file(path), overrides)


def resolve(config: ConfigDict, overrides: Mapping[str, str] | None = None) -> ConfigDict:
    """Completes and checks a config built in Python, as `load_config` does for a file.

    Raises:
      UserError: a key, a type or a value is invalid.
    """
    overrides = overrides or {}
    config = configs.resolve(config, overrides, REGISTRIES)
    settle_precision(config, overrides)
    check_together(config)
    return config


@dataclass(frozen=True)
class Experiment:
    """A config applied to given data and devices.

    Attributes:
      recipe: how the model is trained.
      augmentations: applied to training images, in order.
      rules: for the log, which parameters decay, are frozen or have a separate learning rate.
      agenda: the steps at which something is due.
      compiler_options: of the steps of training and evaluation.
    """

    model: Classifier
    recipe: Recipe
    schedule: Schedule
    augmentations: tuple
    length: RunLength
    rules: tuple[str, ...]
    agenda: Agenda
    compiler_options: Mapping[str, Any] | None

    @classmethod
    def of(cls, config: ConfigDict, spec: DataSpec, layout: Layout) -> "Experiment":
        """Builds the experiment that a config describes, without computing anything.

        Raises:
          UserError: the schedule, the loss, an augmentation or the model does not fit the data.
        """
        length = RunLength.of(config, spec.sizes["train"])
        schedule = create_schedule(config.schedule.to_dict(), length)
        augmentations = tuple(create_augmentations(config.data.augment))
        check_augmentations(augmentations, spec.image_shape, pixels_of(spec))
        model = _model_for(config, spec, layout)
        plan = transfer_plan(config.transfer.to_dict(), model, spec.image_shape)
        recipe, rules = _recipe_and_rules(config, plan, spec, length, schedule)

        def every(section: str) -> Every | None:
            period = length.stretch(config[section].every, f"config.{section}.every")
            return Every(period) if period else None

        return cls(
            model=plan.model,
            recipe=recipe,
            schedule=schedule,
            augmentations=augmentations,
            length=length,
            rules=rules,
            agenda=Agenda(
                length.steps,
                *map(every, ("log", "eval", "checkpoint", "monitor")),
                _snapshots(config, schedule, length.steps),
            ),
            compiler_options=compiler_options(config.deterministic, layout.platform),
        )


def check_trainable(
    config: ConfigDict, experiment: Experiment, spec: DataSpec, layout: Layout
) -> None:
    """Refuses an experiment that cannot be trained, before anything compiles.

    Raises:
      UserError: the batch does not fit the data, the devices or the model, a metric to decide by is
        not available, or histograms are asked for and never made.
    """
    if config.monitor.histograms and experiment.agenda.monitor is None:
        raise UserError("config.monitor.histograms=True has no effect without config.monitor.every")
    _check_batch(config, spec.sizes["train"], layout.replicas)
    _check_deciding_metrics(config, experiment.schedule, spec)
    batch_size = config.train.global_batch_size // config.train.microbatches
    check_fits(config.model.name, experiment.model, spec.image_shape, _ADVICE, batch_size)


def create_feed(
    config: ConfigDict, dataset: Dataset, experiment: Experiment, layout: Layout
) -> HostFeed | DeviceFeed:
    """The feed of a run, chosen by `config.data.placement`.

    Raises:
      UserError: the data cannot be stored on a device.
    """
    feeds = {
        "host": HostFeed,
        "device": DeviceFeed,
        "device_sharded": partial(DeviceFeed, sharded=True),
    }
    feed = feeds[config.data.placement]
    batch_size = config.train.global_batch_size
    return feed(dataset, layout, experiment.augmentations, batch_size, configs.data_seed(config))


def _snapshots(config: ConfigDict, schedule: Schedule, steps: int) -> Moments:
    """When snapshots are kept: at the last troughs of the schedule."""
    count = config.checkpoint.snapshots
    if not count:
        return Moments()
    moments = troughs(schedule, steps)
    if len(moments) < count:
        raise UserError(
            f"config.checkpoint.snapshots={count}: the learning rate of schedule "
            f"{config.schedule.name!r} has fewer troughs in this run ({len(moments)}); that of "
            "cosine_restarts and cyclic has one at the end of each cycle"
        )
    return Moments(moments[-count:])


_ADVICE = "config.data.resize={size} scales the images"


def _model_for(config: ConfigDict, spec: DataSpec, layout: Layout) -> Classifier:
    """The config's model, checked against the image shape of the data."""
    fields = config.model.to_dict()
    name = fields.pop("name")
    model = create_model(name, num_classes=spec.outputs, replicas=layout.replicas, **fields)
    model = model.clone(
        layout=layout if layout.replicas > 1 else None,
        precision=precision_of_products(config, layout.platform),
    )
    check_fits(name, model, spec.image_shape, _ADVICE)
    return model


def _scoring_for(config: ConfigDict, spec: DataSpec) -> Scoring:
    name, targets = config.loss.name, spec.targets is not None
    if (name in OF_TARGETS) != targets:
        raise UserError(
            f"config.loss.name={name!r} is not a loss for data with "
            f"{'targets' if targets else 'classes'}; valid: {', '.join(losses_for(targets))}"
        )
    return Scoring(create_loss(config.loss.to_dict(), train=False), means_for(spec))


def _training_loss(config: ConfigDict, spec: DataSpec) -> Partial:
    """The loss in training, with the weights of the classes; those of an evaluation count alike."""
    loss, given = create_loss(config.loss.to_dict(), train=True), config.loss.class_weights
    setting = "config.loss.balanced=True" if config.loss.balanced else "config.loss.class_weights"
    if not given and not config.loss.balanced:
        return loss
    if spec.targets is not None:
        raise UserError(f"{setting} needs classes, and this data has targets")
    if given and config.loss.balanced:
        raise UserError(
            "config.loss.class_weights and config.loss.balanced=True exclude each other"
        )
    if given and len(given) != spec.outputs:
        raise UserError(
            f"config.loss.class_weights has {len(given)} numbers, and there are {spec.outputs} classes"
        )
    if any(weight < 0 for weight in given):
        raise UserError(f"config.loss.class_weights={tuple(given)} must be at least 0 each")
    counts = np.maximum(spec.class_counts or (1,), 1)
    weights = np.array(given, float) if given else counts.sum() / (len(counts) * counts)
    return weighted(loss, weights)


def _recipe_and_rules(
    config: ConfigDict, plan: Plan, spec: DataSpec, length: RunLength, schedule: Schedule
) -> tuple[Recipe, tuple[str, ...]]:
    params = abstract_variables(plan.model, spec.image_shape)["params"]
    groups, rules = parameter_groups(
        config.parameters.to_dict(), params, plan.frozen, plan.multipliers
    )
    averaging = create_averaging(config.averaging.to_dict(), length)
    optimizer = config.optimizer.to_dict()
    check_averages(optimizer, averaging)
    recipe = Recipe(
        optimizer=create_optimizer(optimizer, schedule, groups),
        loss=_training_loss(config, spec),
        scoring=_scoring_for(config, spec),
        l2_regularization=config.loss.l2_regularization or None,
        groups=groups,
        clipping=gradient_clipping(optimizer),
        averaging=averaging,
        mixes=create_mixes(config.data.mix),
        microbatches=config.train.microbatches,
    )
    return recipe, (*plan.rules, *rules)


def _check_batch(config: ConfigDict, examples: int, devices: int) -> None:
    batch_size, microbatches = config.train.global_batch_size, config.train.microbatches
    if batch_size > examples:
        raise UserError(
            f"config.train.global_batch_size={batch_size} is larger than the training split, "
            f"which has {examples} images"
        )
    parts = devices * microbatches
    if batch_size % parts:
        lower = batch_size // parts * parts
        among = f"{devices} devices" + (
            f" × config.train.microbatches={microbatches}" if microbatches > 1 else ""
        )
        raise UserError(
            f"config.train.global_batch_size={batch_size} cannot be divided among {among}; "
            f"valid: {f'{lower} or ' if lower else ''}{lower + parts}"
        )


def _check_deciding_metrics(config: ConfigDict, schedule: Schedule, spec: DataSpec) -> None:
    """Plateaus and early stopping need a validation split, and deciding metrics must exist."""
    if "validation" not in spec.sizes and (schedule.plateau or config.early_stopping.patience):
        setting = "config.schedule.name='reduce_on_plateau'"
        if not schedule.plateau:
            setting = f"config.early_stopping.patience={config.early_stopping.patience}"
        raise UserError(f"{setting} needs a validation split, and the data has none")
    valid = metrics_of(spec)
    for setting, metric in deciding_metrics(config).items():
        if metric not in valid:
            what = "targets" if spec.targets else f"{spec.outputs} classes"
            raise UserError(
                f"{setting}={metric!r} must be {' or '.join(valid)} for data with {what}"
            )
