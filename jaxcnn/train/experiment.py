"""What a config means: its names looked up, its values checked, its durations turned into steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
from ml_collections import ConfigDict

from jaxcnn import config as configs
from jaxcnn.config import Duration, Every, RunLength
from jaxcnn.data.augment import AUGMENTATIONS, create_augmentations
from jaxcnn.data.dataset import Dataset, TargetScale
from jaxcnn.data.sources import SOURCES
from jaxcnn.errors import UserError
from jaxcnn.models import MODELS, create_model
from jaxcnn.models.classifier import Classifier, abstract_variables
from jaxcnn.models.fit import check_fits
from jaxcnn.models.settings import check_settings
from jaxcnn.optim.averaging import AVERAGES, create_averaging
from jaxcnn.optim.chain import check_averages, create_optimizer, gradient_clipping
from jaxcnn.optim.groups import parameter_groups
from jaxcnn.optim.optimizers import OPTIMIZERS
from jaxcnn.optim.schedules import SCHEDULES, Schedule, create_schedule
from jaxcnn.train import losses, metrics
from jaxcnn.train.losses import LOSSES, create_loss
from jaxcnn.train.metrics import class_means, target_means
from jaxcnn.train.recipe import Recipe

REGISTRIES = {
    "model": MODELS,
    "data": SOURCES,
    "augment": AUGMENTATIONS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "averaging": AVERAGES,
}


def load_config(path: str | Path, overrides: Mapping[str, str] | None = None) -> ConfigDict:
    """The full, checked config of a file and of command-line overrides (dotted key → text).

    Raises:
      UserError: the file, a key, a type or a value is wrong.
    """
    return resolve(configs.load_config_file(path), overrides)


def resolve(config: ConfigDict, overrides: Mapping[str, str] | None = None) -> ConfigDict:
    """Completes and checks a config made in Python, as `load_config` does with a file's."""
    config = configs.resolve(config, overrides or {}, REGISTRIES)
    _check_values(config)
    return config


def _check_values(config: ConfigDict) -> None:
    at_least_1 = (lambda v: v >= 1), "at least 1"
    at_least_0 = (lambda v: v >= 0), "at least 0"
    fraction = (lambda v: 0 <= v < 1), "at least 0 and less than 1"
    up_to_1 = (lambda v: 0 < v <= 1), "more than 0 and at most 1"
    seed = (lambda v: 0 <= v < 2**32), "at least 0 and less than 2³²"
    limits = {
        "seed": seed,
        "data.resize": at_least_0,
        "data.validation_fraction": fraction,
        "data.test_fraction": fraction,
        "data.split_seed": seed,
        "loss.label_smoothing": fraction,
        "loss.l2_regularization": at_least_0,
        "loss.delta": ((lambda v: v > 0), "more than 0"),
        "optimizer.learning_rate": ((lambda v: v > 0), "more than 0"),
        "optimizer.clip_norm": at_least_0,
        "optimizer.clip_value": at_least_0,
        "optimizer.lookahead_period": at_least_0,
        "optimizer.lookahead_step_size": up_to_1,
        **dict.fromkeys((f"optimizer.{key}" for key in _FRACTIONS), fraction),
        **dict.fromkeys((f"optimizer.{key}" for key in _NOT_NEGATIVE), at_least_0),
        "optimizer.ns_steps": at_least_1,
        "optimizer.update_interval": at_least_1,
        "schedule.final": ((lambda v: 0 <= v <= 1), "at least 0 and at most 1"),
        "schedule.low": ((lambda v: 0 <= v <= 1), "at least 0 and at most 1"),
        "schedule.gamma": up_to_1,
        "schedule.power": at_least_0,
        "schedule.decay": at_least_0,
        "schedule.patience": at_least_0,
        "schedule.threshold": at_least_0,
        "schedule.cooldown": at_least_0,
        "schedule.start_divisor": at_least_1,
        "schedule.final_divisor": at_least_1,
        "schedule.low_momentum": fraction,
        "schedule.high_momentum": fraction,
        "averaging.decay": fraction,
        "train.global_batch_size": at_least_1,
        "train.microbatches": at_least_1,
        "eval.global_batch_size": at_least_1,
        "early_stopping.patience": at_least_0,
        "early_stopping.min_delta": at_least_0,
    }
    for key, (is_valid, valid) in limits.items():
        section, _, leaf = key.rpartition(".")
        values = config[section] if section else config
        if leaf not in values or isinstance(values[leaf], str):  # a duration, checked below
            continue
        if not is_valid(values[leaf]):
            raise UserError(f"config.{key}={values[leaf]!r} must be {valid}")
    _check_metrics(config)
    _check_decay(config)
    check_settings(config.model.to_dict(), "config.model.")
    for key in ("train.duration", "schedule.warmup", "eval.every", "log.every", "checkpoint.every"):
        section, _, leaf = key.partition(".")
        duration = Duration.parse(config[section][leaf], f"config.{key}")
        if duration.value == 0 and key != "schedule.warmup":
            raise UserError(f"config.{key}={config[section][leaf]!r} must be more than 0")
    if Duration.parse(config.train.duration, "").unit == "percent":
        raise UserError(
            f"config.train.duration={config.train.duration!r}: the run's own length cannot be a "
            "percentage of it; give steps, epochs or examples"
        )
    create_augmentations(config.data.augment)
    uses_float64 = "float64" in (config.model.dtype, config.model.param_dtype)
    if uses_float64 and not jax.config.jax_enable_x64:
        raise UserError(
            "config.model.dtype='float64' needs the environment variable JAX_ENABLE_X64=1"
        )


# Settings of several optimizers each: rates of moving averages, and what may not be negative.
_FRACTIONS = ("momentum", "b1", "b2", "b3", "decay")
_NOT_NEGATIVE = ("eps", "eps_root", "weight_decay", "rho", "beta")


def _check_metrics(config: ConfigDict) -> None:
    """The metrics that decide something must be among those that the loss goes with."""
    of_classes = LOSSES[config.loss.name] in losses.OF_CLASSES
    valid = metrics.OF_CLASSES if of_classes else metrics.OF_TARGETS
    chosen = [("checkpoint.best_metric", config.checkpoint.best_metric)]
    if config.early_stopping.patience:
        chosen.append(("early_stopping.metric", config.early_stopping.metric))
    if "metric" in config.schedule:
        chosen.append(("schedule.metric", config.schedule.metric))
    for key, metric in chosen:
        if metric not in valid:
            raise UserError(
                f"config.{key}={metric!r} must be {' or '.join(valid)}, the metrics that go with "
                f"config.loss.name={config.loss.name!r}"
            )


def _check_decay(config: ConfigDict) -> None:
    l2, decoupled = config.loss.l2_regularization, config.optimizer.get("weight_decay", 0.0)
    if l2 and decoupled:
        raise UserError(
            f"config.loss.l2_regularization={l2:g} and config.optimizer.weight_decay={decoupled:g} "
            "would both make weights decay; set one of them to 0"
        )


@dataclass(frozen=True)
class Experiment:
    """A config made concrete for a data set."""

    model: Classifier
    recipe: Recipe
    schedule: Schedule
    augmentations: list
    length: RunLength
    log: Every
    eval: Every
    checkpoint: Every

    @classmethod
    def of(cls, config: ConfigDict, dataset: Dataset, devices: int) -> "Experiment":
        """Builds what the config describes, and refuses what cannot run, before anything compiles.

        Raises:
          UserError: the batch, the schedule or the model does not fit the data or the devices.
        """
        examples = len(dataset.splits["train"])
        _check_batch(config, examples, devices)
        length = RunLength.of(config, examples)
        schedule = create_schedule(config.schedule.to_dict(), length)
        needs_validation = schedule.plateau or config.early_stopping.patience
        if needs_validation and "validation" not in dataset.splits:
            setting = "config.schedule.name='reduce_on_plateau'"
            if not schedule.plateau:
                setting = f"config.early_stopping.patience={config.early_stopping.patience}"
            raise UserError(f"{setting} needs a validation split, and the data has none")
        batch_size = config.train.global_batch_size // config.train.microbatches
        model = model_for(config, dataset.image_shape, dataset.outputs, batch_size)

        def every(section: str) -> Every:
            return Every(length.stretch(config[section].every, f"config.{section}.every"))

        return cls(
            model=model,
            recipe=recipe_for(
                config, model, dataset.image_shape, dataset.targets, length, schedule
            ),
            schedule=schedule,
            augmentations=create_augmentations(config.data.augment),
            length=length,
            log=every("log"),
            eval=every("eval"),
            checkpoint=every("checkpoint"),
        )


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


def recipe_for(
    config: ConfigDict,
    model: Classifier,
    image_shape: tuple[int, int, int],
    targets: TargetScale | None,
    length: RunLength,
    schedule: Schedule,
) -> Recipe:
    """How a resolved config trains a model.

    Args:
      targets: of the data, where it is a regression's.
      length: of the run, which says when averages are taken.

    Raises:
      UserError: the loss is not one for such data, or parameters are named that the model lacks.
    """
    settings = config.loss.to_dict()
    for_targets = LOSSES[config.loss.name] in losses.OF_TARGETS
    if for_targets != (targets is not None):
        valid = losses.OF_TARGETS if targets else losses.OF_CLASSES
        raise UserError(
            f"config.loss.name={config.loss.name!r} is no loss for data with "
            f"{'targets' if targets else 'classes'}; "
            f"valid: {', '.join(loss.__name__ for loss in valid)}"
        )
    params = abstract_variables(model, image_shape)["params"]
    groups = parameter_groups(config.parameters.to_dict(), params)
    averaging = create_averaging(config.averaging.to_dict(), length)
    optimizer = config.optimizer.to_dict()
    check_averages(optimizer, averaging)
    return Recipe(
        tx=create_optimizer(optimizer, schedule, groups),
        loss=create_loss(settings, train=True),
        eval_loss=create_loss(settings, train=False),
        means=target_means(targets.std) if targets else class_means,
        l2_regularization=config.loss.l2_regularization,
        groups=groups,
        clipping=gradient_clipping(optimizer),
        averaging=averaging,
        microbatches=config.train.microbatches,
    )


def model_for(
    config: ConfigDict,
    image_shape: tuple[int, int, int],
    outputs: int,
    batch_size: int | None = None,
) -> Classifier:
    """The config's model, tried on images of that shape without computing anything.

    Args:
      outputs: how many numbers it gives for an image.
      batch_size: of the training that it is to be tried in too.

    Raises:
      UserError: a field has an impossible value, or the images are too small for the model; then the
        message says what the smallest size is.
    """
    fields = config.model.to_dict()
    name = fields.pop("name")
    model = create_model(name, num_classes=outputs, **fields)
    advice = "--config.data.resize={size} scales the images"
    check_fits(name, model, image_shape, advice, batch_size)
    return model
