"""A worker: takes the trials of a study one after another, until all have ended."""

import json
import logging
import time
from collections.abc import Iterable

from ml_collections import ConfigDict

from jaxcnn.compare.leases import Lease, LeaseLost, Leases
from jaxcnn.compare.study import Study, Trial
from jaxcnn.data.dataset import Dataset, load_dataset
from jaxcnn.errors import UserError
from jaxcnn.files import write_text
from jaxcnn.train.judge import DivergedError
from jaxcnn.train.observers import Observer
from jaxcnn.train.observers.files import MetricsFile
from jaxcnn.train.start import run

log = logging.getLogger(__name__)

_PATIENCE = 1.0  # seconds between looks for a trial while the others work
_DATASETS = 2  # that are kept in memory; arms rarely differ in their data


class Worker:
    """Runs trials of a study in this process.

    Trials whose networks, optimizers and data have the same structure share one compiled program:
    their numbers are its arguments.
    """

    def __init__(self, study: Study):
        self._study, self._leases = study, Leases()
        self._datasets: dict[str, Dataset] = {}

    def work(self) -> None:
        """Takes trials until the study is complete.

        Raises:
          UserError: a trial cannot be trained.
          Preempted: a signal, after the trial at hand was saved.
        """
        while True:
            trials = self._study.extend()
            open_trials = [trial for trial in trials if not self._study.outcome(trial)]
            if not open_trials:
                return
            if not self._take_one(open_trials, trials):
                time.sleep(_PATIENCE)

    def _take_one(self, open_trials: Iterable[Trial], trials: list[Trial]) -> bool:
        """Runs the first trial that no other worker holds; returns whether there was one."""
        for trial in open_trials:
            lease = self._leases.take(self._study.workdir(trial).path)
            if lease is None:
                continue
            try:
                if not self._study.outcome(trial):  # it may have ended since
                    self._run(trial, lease)
                    self._study.prune(trial, trials)
            except LeaseLost:
                log.warning("%s: another worker has taken it over", trial.name)
            finally:
                lease.release()
            return True
        return False

    def _run(self, trial: Trial, lease: Lease) -> None:
        directory = self._study.workdir(trial)
        config = self._study.comparison.config(trial.arm, trial.settings, trial.seed)
        log.info("%s", trial.name)
        try:
            dataset = self._dataset(config)
            if trial.kind != "best":  # a search must not see it, and no one reads it twice
                dataset = dataset.without("test")
            run(config, directory, [Watch(lease, directory), MetricsFile(directory)], dataset)
        except DivergedError:  # a result like another
            pass
        except UserError as error:
            raise UserError(f"trial {trial.name}: {error}") from error
        outcome = self._study.outcome(trial)
        log.info(
            "%s: %s, %s %.4g",
            trial.name,
            outcome.status,
            self._study.comparison.metric,
            outcome.value,
        )

    def _dataset(self, config: ConfigDict) -> Dataset:
        settings = config.data.to_dict()
        key = json.dumps({**settings, "augment": [], "mix": [], "seed": -1, "placement": ""})
        if key not in self._datasets:
            if len(self._datasets) == _DATASETS:
                self._datasets.pop(next(iter(self._datasets)))
            self._datasets[key] = load_dataset(settings)
            if "validation" not in self._datasets[key].splits:
                raise UserError(
                    "config.data.validation_fraction=0: trials are compared on a validation split"
                )
        return self._datasets[key]


class Watch(Observer):
    """Ends a run whose lease another worker has taken over; measures the time of its evaluations."""

    def __init__(self, lease: Lease, directory):
        self._lease, self._directory = lease, directory
        self._evaluating, self._start = 0.0, time.perf_counter()
        self._last_step = self._start

    def on_start(self, start) -> None:
        self._lease.check()

    def on_steps(self, step: int) -> None:
        self._lease.check()
        self._last_step = time.perf_counter()

    def on_log(self, line: dict) -> None:
        self._lease.check()

    def on_validation(self, line: dict) -> None:
        self._evaluating += time.perf_counter() - self._last_step

    def on_end(self, result: dict) -> None:
        self._lease.check()
        seconds = {
            "seconds": round(time.perf_counter() - self._start, 3),
            "evaluation": round(self._evaluating, 3),
        }
        write_text(self._directory.path / "timing.json", json.dumps(seconds) + "\n")
