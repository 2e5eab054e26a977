"""Checks of the settings that may change when a run is resumed."""

import json
import logging

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.config import differences
from jaxcnn.errors import UserError
from jaxcnn.models.classifier import Classifier
from jaxcnn.train.environment import environment, other_conditions
from jaxcnn.train.experiment import Experiment
from jaxcnn.train.judge import DivergedError
from jaxcnn.train.workdir import COMPLETE, Workdir

log = logging.getLogger(__name__)

# Settings that do not affect the computation, but for rounding. Data at a new path is verified by its
# fingerprint.
LOCATIONS = ("data.root", "data.path", "data.data_dir")
FREE = (
    "log.every", "checkpoint.every", "observers", "monitor.every", "monitor.histograms", "sharding",
    "reproducible",
    "train.on_divergence", "train.max_rollbacks", "processes.stuck_after", *LOCATIONS,
)  # fmt: skip


def config_to_resume(config: ConfigDict, workdir: Workdir) -> ConfigDict | None:
    """The config of the run in a workdir that is to be resumed; None if there is none.

    Raises:
      UserError: the directory cannot be a workdir, or contains a run of another config.
    """
    workdir.check()
    if not workdir.config.exists():
        return None
    former = workdir.read_config()
    check_same_run(former, config, workdir)
    return former


def finished(workdir: Workdir) -> dict | None:
    """The result of the run in a workdir if it has finished, else None."""
    result = workdir.read_result()
    return result if result and result["status"] in COMPLETE else None


def check_not_diverged(former: ConfigDict, config: ConfigDict, workdir: Workdir) -> None:
    """Refuses to repeat a run that diverged, unless it may go back further now.

    Raises:
      DivergedError: it would diverge again.
    """
    result = workdir.read_result()
    if result is None or result["status"] != "diverged":
        return
    settings = [(each.train.on_divergence, each.train.max_rollbacks) for each in (former, config)]
    if settings[0] == settings[1]:
        raise DivergedError(
            f"workdir={workdir.path} holds a run that diverged at step {result['steps']}, as it would "
            "again; change the config and use another workdir, or overwrite=True, or go on from its "
            "newest checkpoint with config.train.on_divergence=rollback",
            result["steps"],
        )


def free_differences(former: ConfigDict, config: ConfigDict) -> list[str]:
    """The settings that differ and may; a line each."""
    return [line for line in _differences(former, config) if _key(line) in FREE]


def check_same_data(former: str, fingerprint: str, workdir: Workdir) -> None:
    """Refuses to resume a run if the fingerprint of its data is no longer the former one.

    Raises:
      UserError: it differs.
    """
    if fingerprint != former:
        raise UserError(
            f"workdir={workdir.path} holds a run on other data: the images or labels of its source "
            "have changed; use another workdir, or overwrite=True to start anew"
        )


def check_same_replicas(former: int | None, model: Classifier, workdir: Workdir) -> None:
    """Refuses another number of devices than a run had if each takes batch statistics of its own.

    Args:
      former: the number at the checkpoint; None if an earlier version wrote it, which did not say.

    Raises:
      UserError: it differs, and the statistics of a batch with it.
    """
    alone = model.norm == "batch" and model.batch_norm_mode == "per_replica"
    if alone and former not in (None, model.replicas):
        raise UserError(
            f"config.model.batch_norm_mode='per_replica': the run in workdir={workdir.path} takes its "
            f"statistics on each of {former} devices, and here the number is {model.replicas}; resume "
            f"it on {former}"
        )


def check_conditions(config: ConfigDict, workdir: Workdir) -> None:
    """Warns if a run is resumed where it may get other bits than where it began.

    Raises:
      UserError: it may, and config.reproducible is 'strict'.
    """
    former = workdir.read_environments()
    others = other_conditions(former[-1], environment()) if former else []
    if not others:
        return
    said = "; ".join(others)
    if config.reproducible == "strict":
        raise UserError(
            f"config.reproducible='strict': the run in workdir={workdir.path} would go on under other "
            f"conditions ({said}); resume it under the former ones, or with config.reproducible=warn"
        )
    log.warning("resuming under other conditions, so that numbers may differ by rounding: %s", said)


def _differences(former: ConfigDict, config: ConfigDict) -> list[str]:
    as_stored = json.loads(json.dumps(config.to_dict()))
    return differences(json.loads(json.dumps(former.to_dict())), as_stored)


def check_same_run(former: ConfigDict, config: ConfigDict, workdir: Workdir) -> None:
    """Refuses to resume a run with settings that affect the computation; logs other changes.

    Raises:
      UserError: a setting that affects the computation differs.
    """
    lines = _differences(former, config)
    free = [line for line in lines if _key(line) in (*FREE, "train.duration")]
    if others := [line for line in lines if line not in free]:
        raise UserError(
            f"workdir={workdir.path} holds a run of another config ({'; '.join(others)}); "
            "use another workdir, or overwrite=True to remove that run and start anew"
        )
    for line in free:
        log.info("resuming with another setting: %s", line)


def check_continues(former: Experiment, longer: Experiment, config: ConfigDict) -> None:
    """Refuses a changed duration, unless it leaves all earlier steps of the run unchanged.

    Raises:
      UserError: the new duration is shorter, or the schedule, the averages or the evaluations
        depend on the length of the run.
    """
    steps, duration = former.length.steps, f"config.train.duration={config.train.duration!r}"
    if longer.length.steps < steps:
        raise UserError(
            f"{duration} is {longer.length.steps} steps, but the run in the workdir has {steps}; "
            "a duration can only be increased"
        )
    reason = None
    if former.agenda.eval != longer.agenda.eval:
        reason = f"config.eval.every={config.eval.every!r} means different steps in a longer run"
    elif not _same_schedule(former, longer, steps):
        reason = f"schedule '{config.schedule.name}' would have differed from the start"
    elif not _same_averages(former, longer, steps):
        reason = f"averaging '{config.averaging.name}' would have differed from the start"
    if reason:
        raise UserError(
            f"{duration}: {reason}; keep the duration, or start a new run from these weights with "
            "config.init_from"
        )


def _same_schedule(former: Experiment, longer: Experiment, steps: int) -> bool:
    return all(
        _same(getattr(former.schedule, name), getattr(longer.schedule, name), np.arange(steps))
        for name in ("factor", "momentum")
    )


def _same_averages(former: Experiment, longer: Experiment, steps: int) -> bool:
    shares = (experiment.recipe.averaging.share for experiment in (former, longer))
    return _same(*shares, np.arange(1, steps + 1))


def _same(function, other, steps: np.ndarray) -> bool:
    """Whether two functions of the step agree on these steps; None agrees only with None."""
    if function is None or other is None:
        return function is other
    values = [np.asarray(jax.jit(jax.vmap(f))(steps)) for f in (function, other)]
    return np.array_equal(*values)


def _key(line: str) -> str:
    """'train.duration' of 'config.train.duration: … → …'."""
    return line.partition(":")[0].removeprefix("config.")
