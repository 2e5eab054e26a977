"""Which settings of a config do not go together. What one setting may be is said where it stands."""

import jax
from ml_collections import ConfigDict

from jaxcnn.data.augment.table import create_augmentations
from jaxcnn.durations import Duration
from jaxcnn.errors import UserError
from jaxcnn.train.losses import OF_TARGETS
from jaxcnn.train.metrics import ALL
from jaxcnn.train.mixing import create_mixes


def check_together(config: ConfigDict) -> None:
    """Refuses settings that exclude each other, in a config whose types and ranges are right.

    Raises:
      UserError: the first ones, and what would be valid.
    """
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


def deciding_metrics(config: ConfigDict) -> dict[str, str]:
    """The settings that name a metric by which something is decided, and their values."""
    chosen = {
        "config.checkpoint.best_metric": config.checkpoint.best_metric,
        "config.early_stopping.metric": config.early_stopping.metric,
    }
    if "metric" in config.schedule:
        chosen["config.schedule.metric"] = config.schedule.metric
    return chosen


def _check_durations(config: ConfigDict) -> None:
    for key in ("train.duration", "schedule.warmup", "eval.every", "log.every", "checkpoint.every"):
        section, _, leaf = key.partition(".")
        duration = Duration.parse(config[section][leaf], f"config.{key}")
        if duration.value == 0 and key != "schedule.warmup":
            raise UserError(f"config.{key}={config[section][leaf]!r} must be more than 0")
    if Duration.parse(config.train.duration, "config.train.duration").unit == "percent":
        raise UserError(
            f"config.train.duration={config.train.duration!r}: the run's own length cannot be a "
            "percentage of it; give steps, epochs or examples"
        )


def _check_metrics(config: ConfigDict) -> None:
    """Metrics must be among those that the loss goes with; those of the data are checked with it."""
    targets = config.loss.name in OF_TARGETS
    valid = [m for m in ALL if m == "loss" or (m == "mae") == targets]
    for setting, metric in deciding_metrics(config).items():
        if metric not in valid:
            raise UserError(
                f"{setting}={metric!r} must be {' or '.join(valid)}, the metrics that go with "
                f"config.loss.name={config.loss.name!r}"
            )


def _check_decay(config: ConfigDict) -> None:
    l2, decoupled = config.loss.l2_regularization, config.optimizer.get("weight_decay", 0.0)
    if l2 and decoupled:
        raise UserError(
            f"config.loss.l2_regularization={l2:g} and config.optimizer.weight_decay={decoupled:g} "
            "would both make weights decay; set config.loss.l2_regularization=0 or "
            "config.optimizer.weight_decay=0"
        )
