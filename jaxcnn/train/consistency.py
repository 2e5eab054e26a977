"""Checks of settings against each other; limits of single settings are declared with them."""

import jax
from ml_collections import ConfigDict

from jaxcnn import hosts
from jaxcnn.config import default_config
from jaxcnn.data.augment.table import create_augmentations
from jaxcnn.durations import Duration
from jaxcnn.errors import UserError
from jaxcnn.train.losses import OF_TARGETS
from jaxcnn.train.metrics import ALL
from jaxcnn.train.mixing import create_mixes

_POSITIVE = ("train.duration", "eval.every", "log.every", "checkpoint.every")


def check_together(config: ConfigDict) -> None:
    """Refuses incompatible settings in a config whose types and ranges are valid.

    Raises:
      UserError: settings are incompatible; names the first, and the valid choices.
    """
    create_augmentations(config.data.augment)
    create_mixes(config.data.mix)
    _check_durations(config)
    _check_metrics(config)
    _check_decay(config)
    _check_transfer(config)
    uses_float64 = "float64" in (config.model.get("dtype"), config.model.get("param_dtype"))
    if uses_float64 and not jax.config.jax_enable_x64:
        raise UserError(
            "config.model.dtype='float64' needs the environment variable JAX_ENABLE_X64=1"
        )


def deciding_metrics(config: ConfigDict) -> dict[str, str]:
    """The settings that name a metric to decide by, and their values."""
    chosen = {
        "config.checkpoint.best_metric": config.checkpoint.best_metric,
        "config.early_stopping.metric": config.early_stopping.metric,
    }
    if "metric" in config.schedule:
        chosen["config.schedule.metric"] = config.schedule.metric
    return chosen


def _check_durations(config: ConfigDict) -> None:
    for key in (*_POSITIVE, "schedule.warmup", "monitor.every"):
        section, _, leaf = key.partition(".")
        duration = Duration.parse(config[section][leaf], f"config.{key}")
        if duration.value == 0 and key in _POSITIVE:
            raise UserError(f"config.{key}={config[section][leaf]!r} must be more than 0")
    warmup = config.schedule.warmup
    if config.schedule.name == "one_cycle" and Duration.parse(warmup, "").value:
        raise UserError(
            f"config.schedule.warmup={warmup!r}: schedule 'one_cycle' has a rise of its own; set "
            "config.schedule.warmup='0 steps'"
        )
    if Duration.parse(config.train.duration, "config.train.duration").unit == "percent":
        raise UserError(
            f"config.train.duration={config.train.duration!r}: the length of the run cannot be a "
            "percentage of itself; give steps, epochs or examples"
        )


def _check_metrics(config: ConfigDict) -> None:
    """Metrics must suit the loss; whether the data has them is checked once it is loaded."""
    targets = config.loss.name in OF_TARGETS
    valid = [m for m in ALL if m == "loss" or (m == "mae") == targets]
    for setting, metric in deciding_metrics(config).items():
        if metric not in valid:
            raise UserError(
                f"{setting}={metric!r} must be {' or '.join(valid)}, the metrics that go with "
                f"config.loss.name={config.loss.name!r}"
            )


def _check_transfer(config: ConfigDict) -> None:
    transfer, unset = config.transfer, default_config().transfer
    mode, setting = transfer.mode, f"config.transfer.mode={transfer.mode!r}"
    if mode and not config.init_from:
        raise UserError(f"{setting} needs config.init_from, the weights to start from")
    without_effect = {
        "top": mode != "finetune_top",
        "depth_multiplier": mode in ("", "linear_probe"),
        "frozen_statistics": mode in ("", "linear_probe"),
    }
    for key, is_so in without_effect.items():
        if is_so and transfer[key] != unset[key]:
            raise UserError(f"config.transfer.{key}={transfer[key]!r} has no effect with {setting}")
    if mode != "linear_probe":
        return
    changing = {
        "data.augment": config.data.augment,
        "data.mix": config.data.mix,
        "monitor.every": Duration.parse(config.monitor.every, "").value,
    }
    for key, is_set in changing.items():
        if is_set:
            raise UserError(
                f"{setting} computes the features of each image once, without config.{key}; "
                "config.transfer.mode='finetune_top' with config.transfer.top=0 trains the head with it"
            )
    if config.averaging.get("batch_stats") == "reestimated":
        raise UserError(
            f"config.averaging.batch_stats='reestimated' has no effect with {setting}, which keeps the "
            "running statistics; set 'running'"
        )
    if hosts.count() > 1:
        raise UserError(f"{setting} runs on one process, and there are {hosts.count()}")


def _check_decay(config: ConfigDict) -> None:
    l2, decoupled = config.loss.l2_regularization, config.optimizer.get("weight_decay", 0.0)
    if l2 and decoupled:
        raise UserError(
            f"config.loss.l2_regularization={l2:g} and config.optimizer.weight_decay={decoupled:g} "
            "would both decay the weights; set config.loss.l2_regularization=0 or "
            "config.optimizer.weight_decay=0"
        )
