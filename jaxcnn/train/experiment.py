"""What a config means: its names looked up, its values checked, its durations turned into steps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import jax
import optax
from ml_collections import ConfigDict

from jaxcnn import config as configs
from jaxcnn.config import Duration, Every
from jaxcnn.data.augment import AUGMENTATIONS, create_augmentations
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.sources import SOURCES
from jaxcnn.errors import UserError
from jaxcnn.models import MODELS, create_model
from jaxcnn.models.classifier import Classifier
from jaxcnn.models.fit import check_fits
from jaxcnn.models.settings import check_settings
from jaxcnn.optim.optimizers import OPTIMIZERS, create_optimizer
from jaxcnn.optim.schedules import SCHEDULES, create_schedule

REGISTRIES = {
    "model": MODELS,
    "data": SOURCES,
    "augment": AUGMENTATIONS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
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
    seed = (lambda v: 0 <= v < 2**32), "at least 0 and less than 2³²"
    limits = {
        "seed": seed,
        "data.resize": at_least_0,
        "data.validation_fraction": fraction,
        "data.test_fraction": fraction,
        "data.split_seed": seed,
        "loss.label_smoothing": fraction,
        "loss.l2_regularization": at_least_0,
        "optimizer.learning_rate": ((lambda v: v > 0), "more than 0"),
        "optimizer.momentum": fraction,
        "optimizer.b1": fraction,
        "optimizer.b2": fraction,
        "optimizer.eps": at_least_0,
        "schedule.final": ((lambda v: 0 <= v <= 1), "at least 0 and at most 1"),
        "train.global_batch_size": at_least_1,
        "eval.global_batch_size": at_least_1,
        "checkpoint.best_metric": ((lambda v: v in ("accuracy", "loss")), "accuracy or loss"),
    }
    for key, (is_valid, valid) in limits.items():
        section, _, leaf = key.rpartition(".")
        values = config[section] if section else config
        if leaf in values and not is_valid(values[leaf]):
            raise UserError(f"config.{key}={values[leaf]!r} must be {valid}")
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


@dataclass(frozen=True)
class Experiment:
    """A config made concrete for a data set."""

    model: Classifier
    tx: optax.GradientTransformation
    augmentations: list
    total_steps: int
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
        batch_size = config.train.global_batch_size
        if batch_size > examples:
            raise UserError(
                f"config.train.global_batch_size={batch_size} is larger than the training split, "
                f"which has {examples} images"
            )
        if batch_size % devices:
            lower = batch_size // devices * devices
            raise UserError(
                f"config.train.global_batch_size={batch_size} cannot be divided among {devices} "
                f"devices; valid: {f'{lower} or ' if lower else ''}{lower + devices}"
            )

        def steps(section: str, key: str, run_steps: int | None = None) -> Fraction:
            duration = Duration.parse(config[section][key], f"config.{section}.{key}")
            return duration.steps(examples, batch_size, run_steps)

        total = math.ceil(steps("train", "duration"))
        warmup = math.ceil(steps("schedule", "warmup", total))
        if warmup >= total:
            raise UserError(
                f"config.schedule.warmup={config.schedule.warmup!r} is {warmup} steps, but "
                f"config.train.duration={config.train.duration!r} is a run of {total}; "
                "the warm-up must be shorter than the run"
            )
        classes = len(dataset.class_names)
        model = model_for(config, dataset.image_shape, classes, batch_size)
        return cls(
            model=model,
            tx=create_optimizer(
                config.optimizer.to_dict(),
                create_schedule(config.schedule.to_dict(), total, warmup),
            ),
            augmentations=create_augmentations(config.data.augment),
            total_steps=total,
            log=Every(steps("log", "every", total)),
            eval=Every(steps("eval", "every", total)),
            checkpoint=Every(steps("checkpoint", "every", total)),
        )


def model_for(
    config: ConfigDict,
    image_shape: tuple[int, int, int],
    num_classes: int,
    batch_size: int | None = None,
) -> Classifier:
    """The config's model, tried on images of that shape without computing anything.

    Args:
      batch_size: of the training that it is to be tried in too.

    Raises:
      UserError: a field has an impossible value, or the images are too small for the model; then the
        message says what the smallest size is.
    """
    fields = config.model.to_dict()
    name = fields.pop("name")
    model = create_model(name, num_classes=num_classes, **fields)
    advice = "--config.data.resize={size} scales the images"
    check_fits(name, model, image_shape, advice, batch_size)
    return model
