"""A worker: runs trials of a study, one after another or in packs, until all have ended."""

import json
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress

import jax
from ml_collections import ConfigDict

from jaxcnn.compare.estimate import step_seconds
from jaxcnn.compare.halving import Halving, record_rung, rungs_of, steps_of_rungs
from jaxcnn.compare.pack import PackLayout, align, train_pack
from jaxcnn.compare.study import Study, Trial
from jaxcnn.data.dataset import OF_FEEDING, Dataset, load_dataset
from jaxcnn.errors import UserError
from jaxcnn.files import write_text
from jaxcnn.layout import Layout
from jaxcnn.leases import Lease, LeaseLost, Leases
from jaxcnn.train.experiment import Experiment
from jaxcnn.train.judge import DivergedError
from jaxcnn.train.observers import Observer
from jaxcnn.train.observers.files import MetricsFile
from jaxcnn.train.observers.holder import Holder
from jaxcnn.train.preemption import Preempted
from jaxcnn.train.start import opened, run
from jaxcnn.train.workdir import Workdir

log = logging.getLogger(__name__)

_PATIENCE = 1.0  # seconds between checks for a trial while other workers hold them all
_DATASETS = 2  # kept in memory; arms rarely differ in their data


class Worker:
    """Runs trials of a study in this process.

    Trials whose networks, optimizers and data have the same structure share one compiled program,
    with their hyperparameters as arguments. They run one after another, or in packs.
    """

    def __init__(self, study: Study):
        self._study, self._leases = study, Leases()
        self._datasets: dict[str, Dataset] = {}
        self._structures: dict[str, str] = {}  # by trial
        self._rungs: dict[str, Halving] = {}  # by arm

    def work(self) -> None:
        """Runs trials until the study is complete.

        Raises:
          UserError: a trial cannot be trained.
          Preempted: a signal arrived, and the current trials were saved.
        """
        while True:
            trials = self._study.extend()
            if all(self._study.outcome(trial) for trial in trials):
                return self._time_steps()
            self._rungs = rungs_of(self._study, trials)
            packs = [pack for pack in self._packs(trials) if self._open(pack)]
            if not self._take_one(packs, trials):
                time.sleep(_PATIENCE)

    def _time_steps(self) -> None:
        """Times a step of each arm, unless another worker is doing so or has done so."""
        directory = self._study.step_seconds.parent
        lease = None if self._study.step_seconds.exists() else self._leases.take(directory)
        if lease is None:
            return
        try:
            log.info("timing the steps of %d arms", len(self._study.comparison.arms))
            seconds = {arm: round(s, 6) for arm, s in step_seconds(self._study).items()}
            write_text(self._study.step_seconds, json.dumps(seconds) + "\n")
        finally:
            lease.release()

    def _open(self, pack: Iterable[Trial]) -> list[Trial]:
        """Returns the trials that can be trained now."""
        return [t for t in pack if not (self._study.outcome(t) or self._waits(t))]

    def _waits(self, trial: Trial) -> bool:
        return self._is_halved(trial) and self._rungs[trial.arm].waits(trial)

    def _is_halved(self, trial: Trial) -> bool:
        return trial.kind == "search" and trial.arm in self._rungs

    def _packs(self, trials: Iterable[Trial]) -> list[list[Trial]]:
        """Groups trials of the same structure into packs; the last pack of each may be smaller."""
        comparison = self._study.comparison
        if comparison.way == "sequential":
            return [[trial] for trial in trials]
        alike: dict[tuple, list[list[Trial]]] = {}
        for trial in trials:
            packs = alike.setdefault((trial.arm, trial.kind, self._structure(trial)), [[]])
            if len(packs[-1]) == comparison.pack:
                packs.append([])
            packs[-1].append(trial)
        return [pack for packs in alike.values() for pack in packs]

    def _structure(self, trial: Trial) -> str:
        """Returns a key that is equal for trials that can share a program."""
        if trial.name not in self._structures:
            config, dataset = self._config(trial), self._data(trial)
            experiment = Experiment.of(config, dataset.spec, Layout.on(jax.devices()[0]))
            recipe = experiment.recipe
            same = (
                experiment.model,
                jax.tree.structure(recipe),
                experiment.augmentations,
                experiment.length,
                experiment.agenda,
                [getattr(leaf, "shape", ()) for leaf in jax.tree.leaves(recipe)],
                config.data.to_dict(),
                config.early_stopping.to_dict(),
                config.transfer.mode and config.init_from,  # a probe's features are data
            )
            self._structures[trial.name] = repr(same)
        return self._structures[trial.name]

    def _take_one(self, packs: Iterable[Sequence[Trial]], trials: list[Trial]) -> bool:
        """Runs the first pack that no other worker holds; returns False if there is none."""
        for pack in packs:
            lease = self._leases.take(self._study.workdir(pack[0]).path)
            if lease is None:
                continue
            try:
                if waiting := self._open(pack):  # they may have ended in the meantime
                    self._run(waiting, len(pack), lease)
                    for trial in waiting:
                        self._study.prune(trial, trials)
            except LeaseLost:
                log.warning("%s: another worker has taken over", pack[0].name)
            finally:
                lease.release()
            return True
        return False

    def _run(self, waiting: Sequence[Trial], size: int, lease: Lease) -> None:
        log.info("%s", ", ".join(trial.name for trial in waiting))
        try:
            if self._study.comparison.way == "sequential":
                self._run_alone(*waiting, lease)
            else:
                self._run_packed(waiting, size, lease)
        except UserError as error:
            raise UserError(f"trial {waiting[0].name}: {error}") from error
        metric = self._study.comparison.metric
        for trial in waiting:
            if outcome := self._study.outcome(trial):
                log.info("%s: %s, %s %.4g", trial.name, outcome.status, metric, outcome.value)

    def _run_alone(self, trial: Trial, lease: Lease) -> None:
        directory = self._study.workdir(trial)
        watching = [Watch(lease, directory), MetricsFile(directory)]
        if self._is_halved(trial):
            rungs = self._rungs[trial.arm]
            watching.append(StopAtRung(directory, rungs.rung, rungs.shares[rungs.rung]))
        with suppress(DivergedError):  # a result like any other
            run(self._config(trial), directory, watching, self._data(trial))

    def _run_packed(self, waiting: Sequence[Trial], size: int, lease: Lease) -> None:
        way, devices = self._study.comparison.way, jax.local_devices()
        used = devices if way == "shard_map" else devices[:1]
        size += -size % len(used)
        directories = [self._study.workdir(trial) for trial in waiting]
        align(directories)
        with ExitStack() as stack:
            runs = [
                stack.enter_context(
                    opened(
                        self._config(trial),
                        directory,
                        [Watch(lease, directory), MetricsFile(directory)],
                        self._data(trial),
                        Layout.on(used[number * len(used) // size]),
                    )
                )
                for number, (trial, directory) in enumerate(zip(waiting, directories, strict=True))
            ]
            signalled = train_pack(runs, way, PackLayout.over(used), size)
        if signalled:
            raise Preempted(directories[0].read_result())

    def _config(self, trial: Trial) -> ConfigDict:
        return self._study.comparison.config(trial.arm, trial.settings, trial.seed)

    def _data(self, trial: Trial) -> Dataset:
        """Returns the data of a trial; only runs of a best point get the test split."""
        settings = self._config(trial).data.to_dict()
        key = json.dumps({k: v for k, v in settings.items() if k not in OF_FEEDING})
        if key not in self._datasets:
            if len(self._datasets) == _DATASETS:
                self._datasets.pop(next(iter(self._datasets)))
            self._datasets[key] = load_dataset(settings)
            if "validation" not in self._datasets[key].splits:
                raise UserError(
                    "config.data.validation_fraction=0: trials are compared on a validation split"
                )
        dataset = self._datasets[key]
        return dataset if trial.kind == "best" else dataset.without("test")


class Watch(Holder):
    """Ends a run if another worker has taken over its lease; times its evaluations."""

    def __init__(self, lease: Lease, directory: Workdir):
        super().__init__(lease)
        self._directory = directory
        self._evaluating, self._start = 0.0, time.perf_counter()
        self._last_step = self._start

    def on_steps(self, step: int) -> None:
        super().on_steps(step)
        self._last_step = time.perf_counter()

    def on_validation(self, line: dict) -> None:
        self._evaluating += time.perf_counter() - self._last_step

    def on_end(self, result: dict) -> None:
        super().on_end(result)
        seconds = {
            "seconds": round(time.perf_counter() - self._start, 3),
            "evaluation": round(self._evaluating, 3),
        }
        write_text(self._directory.path / "timing.json", json.dumps(seconds) + "\n")


class StopAtRung(Observer):
    """Stops a run at the first evaluation after its share of the steps, unless the share is 1."""

    def __init__(self, directory: Workdir, rung: int, share: float):
        self._directory, self._rung, self._share = directory, rung, share

    def on_start(self, start) -> bool:
        self._step = self._share * start.total_steps
        # The run may have been saved at the rung and killed before its result was written.
        steps = steps_of_rungs(self._directory)
        return self._share < 1 and len(steps) > self._rung and start.step >= steps[self._rung]

    def on_validation(self, line: dict) -> bool:
        stops = self._share < 1 and line["step"] >= self._step
        if stops:
            record_rung(self._directory, self._rung, line["step"])
        return stops
