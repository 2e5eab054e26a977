"""How a run starts: its config and workdir checked, its data loaded, a former run resumed."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxcnn import hosts, leases
from jaxcnn.data.dataset import Dataset, load_dataset
from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError
from jaxcnn.layout import Layout
from jaxcnn.leases import LeaseLost
from jaxcnn.train.experiment import Experiment, check_trainable, resolve
from jaxcnn.train.history import standard_observers
from jaxcnn.train.logs import logged
from jaxcnn.train.loop import Run
from jaxcnn.train.observers import create_observers
from jaxcnn.train.observers.holder import Holder
from jaxcnn.train.preemption import Preempted
from jaxcnn.train.pretrained import load_pretrained
from jaxcnn.train.resuming import (
    LOCATIONS,
    check_conditions,
    check_continues,
    check_not_diverged,
    check_same_data,
    config_to_resume,
    finished,
    free_differences,
)
from jaxcnn.train.saved_run import load_run
from jaxcnn.train.workdir import Workdir

log = logging.getLogger(__name__)


def train(
    config: ConfigDict,
    workdir: str | Path,
    dataset: Dataset | None = None,
    observers: Iterable[Any] = (),
    overwrite: bool = False,
) -> dict:
    """Trains from a config, or resumes the run in the workdir.

    Args:
      config: from `load_config`, or built in Python from `default_config()`.
      workdir: directory for all outputs; a run of the same config in it is resumed.
      dataset: data in memory, instead of the data that `config.data` names.
      observers: objects with methods of `observers.Observer`, in addition to those of the config.
      overwrite: removes an existing run and starts anew.

    Returns:
      The content of `result.json`.

    Raises:
      UserError: the config, the data or the workdir is invalid; nothing has been written, except by a
        linear probe of a network whose head does more than a matrix.
      DivergedError: the loss or the weights became NaN or infinite; the last good checkpoint is kept.
      Preempted: SIGTERM or Ctrl-C, after everything is saved; a KeyboardInterrupt.
    """
    config, directory, everyone = resolve(config), Workdir.of(workdir), []
    if hosts.primary():
        everyone = [*standard_observers(directory), *create_observers(config.observers), *observers]
    try:
        return run(config, directory, everyone, dataset, overwrite, held=_held)
    except LeaseLost:
        raise UserError(f"workdir={directory.path}: another process has taken it over") from None


def run(
    config: ConfigDict,
    directory: Workdir,
    observers: Iterable[Any],
    dataset: Dataset | None = None,
    overwrite: bool = False,
    held: Callable[[Run], AbstractContextManager] = nullcontext,
) -> dict:
    """Like `train`, for a resolved config and with only these observers.

    Args:
      held: the context in which only this run uses its directory; by default the caller sees to that.
    """
    if jax.config.jax_disable_jit:
        raise UserError(
            "JAX_DISABLE_JIT=1: the training step is compiled before it runs; unset it, and call the "
            "function of `make_train_step` itself to look into a step"
        )
    with hosts.together(config.processes.stuck_after), logged() as write_log_to:
        hosts.check_equal("the config", json.dumps(config.to_dict(), sort_keys=True))
        hosts.check_shared("workdir", directory.path)
        former = None if overwrite else _former(config, directory)
        resized = former is not None and former.train.duration != config.train.duration
        ended = former is not None and not resized
        if ended and (result := hosts.from_primary(lambda: finished(directory))):
            if changed := free_differences(former, config):
                _change_finished(config, directory, changed, dataset)
            log.info("%s holds the finished run of this config; nothing to do", directory.path)
            return result
        if ended:
            hosts.from_primary(lambda: check_not_diverged(former, config, directory))
        if dataset is None:
            log.info("loading the data: %s", config.data.source)
            dataset = load_dataset(config.data.to_dict())
        hosts.check_equal("the data", dataset.fingerprint())
        layout = Layout.over_all_devices(config.sharding)
        if resized:
            _check_continues(former, config, dataset.spec, layout)
        with opened(config, directory, observers, dataset, layout, overwrite, held) as training:
            write_log_to(directory.log)
            training.begin()
            result = training.complete()
    if training.preempted:
        raise Preempted(result)
    return result


@contextmanager
def opened(
    config: ConfigDict,
    directory: Workdir,
    observers: Iterable[Any],
    dataset: Dataset,
    layout: Layout,
    overwrite: bool = False,
    held: Callable[[Run], AbstractContextManager] = nullcontext,
) -> Iterator[Run]:
    """A context with a run that is ready to begin. Its directory is created once all is checked.

    Raises:
      UserError: the config does not fit the data or the devices; nothing has been written.
    """
    experiment = Experiment.of(config, dataset.spec, layout)
    check_trainable(config, experiment, dataset.spec, layout)
    resumes = not overwrite and hosts.from_primary(directory.has_checkpoint)
    if resumes:
        hosts.from_primary(lambda: check_conditions(config, directory))
    pretrained, origin = None, ""
    if not resumes:
        pretrained, origin = load_pretrained(config, experiment, dataset.spec)
    with (
        closing(
            Run(config, directory, dataset, layout, experiment, observers, pretrained)
        ) as training,
        held(training),
    ):
        hosts.from_primary(lambda: directory.create(config, overwrite, origin))
        yield training


@contextmanager
def _held(training: Run) -> Iterator[None]:
    """A context in which no other start of a run uses its directory."""
    with ExitStack() as stack:
        if hosts.primary():
            lease = stack.enter_context(leases.held(training.directory.path))
            training.history.follow(Holder(lease))
        yield


def _former(config: ConfigDict, directory: Workdir) -> ConfigDict | None:
    """The config of the run to resume, as the primary process finds it; None if there is none."""

    def found() -> dict | None:
        former = config_to_resume(config, directory)
        return former and former.to_dict()

    former = hosts.from_primary(found)
    return former and resolve(ConfigDict(former))


def _change_finished(
    config: ConfigDict, directory: Workdir, changed: list[str], dataset: Dataset | None
) -> None:
    """Records where the data of a finished run is now; warns of other changes, which come too late.

    Raises:
      UserError: it is other data.
    """
    if not any(line.startswith(tuple(f"config.{key}" for key in LOCATIONS)) for line in changed):
        log.warning("%s is finished: %s has no effect", directory.path, "; ".join(changed))
        return
    dataset = dataset or load_dataset(config.data.to_dict())
    if hosts.from_primary(directory.has_checkpoint):
        former = load_run(directory.path, "latest").fingerprint
        check_same_data(former, dataset.fingerprint(), directory)
    directory.write_config(config)


def _check_continues(
    former: ConfigDict, config: ConfigDict, spec: DataSpec, layout: Layout
) -> None:
    shorter, longer = (Experiment.of(each, spec, layout) for each in (former, config))
    check_continues(shorter, longer, config)
