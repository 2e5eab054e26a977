"""Which settings of a run may change when it is resumed."""

import json
import logging

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.config import differences
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import Experiment
from jaxcnn.train.workdir import Workdir

log = logging.getLogger(__name__)

# They change nothing of what is computed; that data which moved is the same, its fingerprint says.
FREE = ("log.every", "checkpoint.every", "observers", "data.root", "data.path", "data.data_dir")


def former_config(config: ConfigDict, workdir: Workdir) -> ConfigDict | None:
    """The config of the run that is in a workdir and is to go on; None where there is none.

    Raises:
      UserError: the directory cannot be a workdir, or holds a run of another config.
    """
    workdir.check()
    if not workdir.config.exists():
        return None
    former = workdir.read_config()
    check_same_run(former, config, workdir)
    return former


def finished(workdir: Workdir) -> dict | None:
    """The result of the run that is in a workdir, where it came to its end."""
    result = workdir.read_result()
    return result if result and result["status"] in ("completed", "early_stopped") else None


def check_same_run(former: ConfigDict, config: ConfigDict, workdir: Workdir) -> None:
    """Refuses to resume a run with settings that would have made another run of it; says the others.

    Raises:
      UserError: settings differ that change what is computed.
    """
    as_stored = json.loads(json.dumps(config.to_dict()))
    lines = differences(json.loads(json.dumps(former.to_dict())), as_stored)
    free = [line for line in lines if _key(line) in (*FREE, "train.duration")]
    if others := [line for line in lines if line not in free]:
        raise UserError(
            f"workdir={workdir.path} holds a run of another config ({'; '.join(others)}); "
            "take another workdir, or overwrite=True to remove that run and start anew"
        )
    for line in free:
        log.info("resuming with another setting: %s", line)


def check_continues(former: Experiment, longer: Experiment, config: ConfigDict) -> None:
    """Refuses another duration, unless all steps so far would have been the same under it.

    Raises:
      UserError: the run is to be shorter, or its schedule, its averages or its evaluations depend on
        its length.
    """
    steps, duration = former.length.steps, f"config.train.duration={config.train.duration!r}"
    if longer.length.steps < steps:
        raise UserError(
            f"{duration} is {longer.length.steps} steps, and the run in the workdir is one of {steps}; "
            "a duration may grow, not shrink"
        )
    reason = None
    if former.eval != longer.eval:
        reason = f"config.eval.every={config.eval.every!r} means other steps in a longer run"
    elif not _same_schedule(former, longer, steps):
        reason = f"schedule '{config.schedule.name}' would have been another from the start"
    elif not _same_averages(former, longer, steps):
        reason = f"averaging '{config.averaging.name}' would have been another"
    if reason:
        raise UserError(
            f"{duration}: {reason}; keep the duration, or start a new run from this one's weights with "
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
    """Whether two functions of the step, or None, agree on these steps."""
    if function is None or other is None:
        return function is other
    values = [np.asarray(jax.jit(jax.vmap(f))(steps)) for f in (function, other)]
    return np.array_equal(*values)


def _key(line: str) -> str:
    """'train.duration' of 'config.train.duration: … → …'."""
    return line.partition(":")[0].removeprefix("config.")
