"""Which values a config's settings may have, and which do not go together."""

from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxcnn.data.augment.table import create_augmentations
from jaxcnn.data.dataset import STATISTICS
from jaxcnn.durations import Duration
from jaxcnn.errors import UserError
from jaxcnn.models.settings import check_settings
from jaxcnn.train import losses, metrics
from jaxcnn.train.losses import LOSSES
from jaxcnn.train.mixing import create_mixes

Limit = tuple[Callable[[Any], bool], str]  # is a value valid; what is, in words

AT_LEAST_1: Limit = (lambda v: v >= 1), "at least 1"
AT_LEAST_0: Limit = (lambda v: v >= 0), "at least 0"
POSITIVE: Limit = (lambda v: v > 0), "more than 0"
FRACTION: Limit = (lambda v: 0 <= v < 1), "at least 0 and less than 1"
INNER_FRACTION: Limit = (lambda v: 0 < v < 1), "more than 0 and less than 1"
SHARE: Limit = (lambda v: 0 <= v <= 1), "at least 0 and at most 1"
UP_TO_1: Limit = (lambda v: 0 < v <= 1), "more than 0 and at most 1"
SEED: Limit = (lambda v: 0 <= v < 2**32), "at least 0 and less than 2³²"
TWO_FRACTIONS: Limit = (
    lambda v: len(v) == 2 and all(0 <= beta < 1 for beta in v),
    "two numbers, each at least 0 and less than 1",
)

CHOICES: dict[str, Limit] = {
    "data.statistics": (
        (lambda v: v == "train" or v in STATISTICS),
        f"'train' or one of {', '.join(map(repr, STATISTICS))}",
    ),
    "data.placement": ((lambda v: v in ("host", "device")), "'host' or 'device'"),
}

LIMITS: dict[str, Limit] = {
    "seed": SEED,
    **CHOICES,
    "data.resize": AT_LEAST_0,
    "data.validation_fraction": FRACTION,
    "data.test_fraction": FRACTION,
    "data.split_seed": SEED,
    "loss.label_smoothing": FRACTION,
    "loss.l2_regularization": AT_LEAST_0,
    "loss.delta": POSITIVE,
    "optimizer.learning_rate": POSITIVE,
    "optimizer.clip_norm": AT_LEAST_0,
    "optimizer.clip_value": AT_LEAST_0,
    "optimizer.lookahead_period": AT_LEAST_0,
    "optimizer.lookahead_step_size": UP_TO_1,
    **dict.fromkeys((f"optimizer.{key}" for key in ("momentum", "b1", "b2", "b3")), FRACTION),
    "optimizer.betas": TWO_FRACTIONS,
    **dict.fromkeys(
        (f"optimizer.{key}" for key in ("eps", "eps_root", "weight_decay")), AT_LEAST_0
    ),
    "schedule.final": SHARE,
    "schedule.low": SHARE,
    "schedule.gamma": UP_TO_1,
    "schedule.power": AT_LEAST_0,
    "schedule.decay": AT_LEAST_0,
    "schedule.patience": AT_LEAST_0,
    "schedule.threshold": AT_LEAST_0,
    "schedule.cooldown": AT_LEAST_0,
    "schedule.start_divisor": AT_LEAST_1,
    "schedule.final_divisor": AT_LEAST_1,
    "schedule.low_momentum": FRACTION,
    "schedule.high_momentum": FRACTION,
    "averaging.decay": FRACTION,
    "train.global_batch_size": AT_LEAST_1,
    "train.microbatches": AT_LEAST_1,
    "eval.global_batch_size": AT_LEAST_1,
    "early_stopping.patience": AT_LEAST_0,
    "early_stopping.min_delta": AT_LEAST_0,
}

# Settings whose name means something else from optimizer to optimizer.
OF_OPTIMIZERS: dict[str, dict[str, Limit]] = {
    "adadelta": {"rho": FRACTION},
    "adafactor": {
        "decay_rate": FRACTION,
        "decay_offset": AT_LEAST_0,
        "clipping_threshold": POSITIVE,
        "min_dim_size_to_factor": AT_LEAST_1,
    },
    "cocob": {"alpha": POSITIVE},
    "dadapt_adamw": {"estim_lr0": POSITIVE},
    "lars": {"trust_coefficient": POSITIVE},
    "momo": {"beta": FRACTION},
    "muon": {"ns_steps": AT_LEAST_1},
    "noisy_sgd": {"eta": AT_LEAST_0, "gamma": AT_LEAST_0},
    "polyak_sgd": {"scaling": POSITIVE},
    "prodigy": {"estim_lr0": POSITIVE, "estim_lr_coef": POSITIVE},
    "rmsprop": {"decay": FRACTION},
    "rprop": {
        "eta_minus": INNER_FRACTION,
        "eta_plus": AT_LEAST_1,
        "min_step_size": AT_LEAST_0,
        "max_step_size": POSITIVE,
    },
    "sam": {"rho": AT_LEAST_0},
    "schedule_free_adamw": {"b1": INNER_FRACTION},
    "schedule_free_sgd": {"b1": INNER_FRACTION},
    "signum": {"beta": FRACTION},
    "sophia": {"update_interval": AT_LEAST_1, "gamma": POSITIVE, "clip_threshold": POSITIVE},
}


def check_values(config: ConfigDict) -> None:
    """Refuses impossible values of a config whose types are right.

    Raises:
      UserError: the first one, and what would be valid.
    """
    of_optimizer = OF_OPTIMIZERS.get(config.optimizer.name, {})
    limits = LIMITS | {f"optimizer.{key}": limit for key, limit in of_optimizer.items()}
    for key, (is_valid, valid) in limits.items():
        section, _, leaf = key.rpartition(".")
        values = config[section] if section else config
        is_duration = isinstance(values.get(leaf), str) and key not in CHOICES
        if leaf not in values or is_duration:  # which is checked elsewhere
            continue
        if not is_valid(values[leaf]):
            raise UserError(f"config.{key}={values[leaf]!r} must be {valid}")
    check_settings(config.model.to_dict(), "config.model.")
    create_augmentations(config.data.augment)
    create_mixes(config.data.mix)
    _check_durations(config)
    _check_metrics(config)
    _check_decay(config)
    uses_float64 = "float64" in (config.model.dtype, config.model.param_dtype)
    if uses_float64 and not jax.config.jax_enable_x64:
        raise UserError(
            "config.model.dtype='float64' needs the environment variable JAX_ENABLE_X64=1"
        )


def _check_durations(config: ConfigDict) -> None:
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


def _check_metrics(config: ConfigDict) -> None:
    """The metrics that decide something must be among those that the loss goes with."""
    of_classes = LOSSES[config.loss.name] in losses.OF_CLASSES
    valid = metrics.OF_CLASSES if of_classes else metrics.OF_TARGETS
    chosen = {
        "checkpoint.best_metric": config.checkpoint.best_metric,
        "early_stopping.metric": config.early_stopping.metric,
    }
    if "metric" in config.schedule:
        chosen["schedule.metric"] = config.schedule.metric
    for key, metric in chosen.items():
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
            "would both make weights decay; add --config.loss.l2_regularization=0 or "
            "--config.optimizer.weight_decay=0"
        )
