"""A sweep on one machine: starts worker processes, replaces those that die, and shows progress."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from jaxcnn.compare.study import Outcome, Study, Trial
from jaxcnn.errors import UserError

log = logging.getLogger(__name__)

_LOOK = 0.5  # seconds between checks on the workers
_DEATHS = 10  # workers that die before the sweep gives up, if no trial ends in between


class Interrupted(Exception):
    """A signal stopped the sweep; everything was saved."""


def sweep(study: Study, command: Sequence[str], workers: int) -> None:
    """Runs a study to completion with workers on this machine.

    Args:
      command: the command that starts a worker.
      workers: number of worker processes.

    Raises:
      UserError: a worker failed, or workers keep dying.
      Interrupted: SIGTERM or Ctrl-C, after the workers have saved their trials and ended.
    """
    processes = [_start(command, workers) for _ in range(workers)]
    progress, deaths = Progress(study), 0
    try:
        with _signals() as signalled:
            while any(process.poll() is None for process in processes):
                time.sleep(_LOOK)
                if signalled:
                    raise Interrupted
                if progress.show():
                    deaths = 0
                for i, process in enumerate(processes):
                    if process.poll() in (None, 0):
                        continue
                    deaths += 1
                    _check_death(process, deaths)
                    processes[i] = _start(command, workers)
            progress.show()
    finally:
        _end(processes)
        progress.close()


class Progress:
    """Shows newly ended trials, one line each, and a progress bar on a terminal."""

    def __init__(self, study: Study):
        self._study, self._shown = study, set()
        trials = study.trials()
        ended = [trial for trial in trials if study.outcome(trial)]
        self._shown = {trial.name for trial in ended}
        self._bar = tqdm(
            total=len(trials), initial=len(ended), unit="trial", disable=None, leave=False
        )

    def show(self) -> bool:
        """Shows what is new; returns whether anything was."""
        trials = self._study.trials()
        self._bar.total = len(trials)
        new = [t for t in trials if t.name not in self._shown and self._study.outcome(t)]
        for trial in new:
            self._shown.add(trial.name)
            self._bar.update()
            with tqdm.external_write_mode():
                log.info("%s", self._line(trial, self._study.outcome(trial), len(trials)))
        self._bar.refresh()
        return bool(new)

    def close(self) -> None:
        self._bar.close()

    def _line(self, trial: Trial, outcome: Outcome, total: int) -> str:
        value = f"{self._study.comparison.metric} {outcome.value:.4g}"
        if outcome.status == "diverged":
            value = "diverged"
        reached = outcome.steps_to_target
        target = "" if reached == float("inf") else f", target at step {reached:.0f}"
        width = len(str(total))
        return f"{len(self._shown):{width}}/{total}  {trial.name:24} {value}{target}"


def _start(command: Sequence[str], workers: int) -> subprocess.Popen:
    environment = dict(os.environ)
    if workers > 1:  # otherwise the first one takes all of the GPU's memory
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # A separate session: Ctrl-C reaches only the sweep, which then ends the workers cleanly.
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _check_death(process: subprocess.Popen, deaths: int) -> None:
    code = process.returncode
    if code > 0:
        raise UserError(
            f"a worker ended with exit code {code}, for the reason above; finished trials are kept, "
            "and the same command resumes the sweep"
        )
    name = signal.Signals(-code).name
    if deaths >= _DEATHS:
        raise UserError(
            f"workers={deaths} died in a row, the last one by {name}, and no trial ended in between; "
            "if memory is short, use fewer workers"
        )
    log.warning("a worker was killed (%s); another one resumes its trial", name)


def _end(processes: Iterable[subprocess.Popen]) -> None:
    """Stops the workers, which save their trials, and waits for them to end."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        process.wait()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Yields a list to which the handlers of SIGTERM and SIGINT append."""
    received: list[int] = []
    former = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield received
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def worker_command(arguments: Sequence[str]) -> list[str]:
    """Returns the command that starts a worker.

    Args:
      arguments: arguments of `jaxcnn sweep`: the comparison and the directory.
    """
    return [sys.executable, "-m", "jaxcnn", "sweep", "--worker", "--quiet", *arguments]
