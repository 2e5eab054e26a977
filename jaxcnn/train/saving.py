"""Saving with Orbax: what is done where the storage refuses to write, and what is not printed then."""

import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import orbax.checkpoint as ocp

from jaxcnn import hosts
from jaxcnn.errors import UserError
from jaxcnn.files import storage_problem

log = logging.getLogger(__name__)


class Saving:
    """Saves checkpoints in the background; tries once more on a full disk, after making room, and after
    a wait for longer than Orbax's limits, which are of the time of day: the clock may have jumped.

    Args:
      directory: of the checkpoints.
    """

    def __init__(self, directory: Path, manager: ocp.CheckpointManager):
        self._directory, self._manager = directory, manager
        self._last: Callable[[], Any] = lambda: None  # starts the last save again

    def start(self, step: int, args: ocp.args.Composite) -> None:
        """Starts to save, once the save before has ended.

        Raises:
          UserError: that one, or this one, cannot be written.
        """

        def save() -> None:
            if step not in self._manager.all_steps():  # as after a clean-up that failed
                self._manager.save(step, args=args, force=True)

        self._last = save
        self._twice(save, lambda: None)

    def wait(self) -> None:
        """Blocks until the last save has ended.

        Raises:
          UserError: the checkpoint cannot be written.
        """
        self._twice(self._manager.wait_until_finished, self._last)

    def close(self) -> None:
        try:
            self._manager.close()
        except Exception as error:
            if storage_problem(error) is None:  # else it was raised before
                raise

    def _twice(self, write: Callable[[], Any], again: Callable[[], Any]) -> None:
        """Calls `write`; if that may help, calls `again` and `write`, once."""
        try:
            write()
        except Exception as error:
            if not self._may_help(error):
                self._refuse(error)
            try:
                try:
                    again()
                except Exception:  # of another thread of the save before, which is told once
                    again()
                write()
            except Exception as second:
                told = storage_problem(second) or isinstance(second, TimeoutError)
                self._refuse(second if told else error)

    def _may_help(self, error: Exception) -> bool:
        """Whether another attempt may succeed; a full disk first loses all but the newest checkpoint.

        Of several processes none tries again: the others cannot know.
        """
        _, full = storage_problem(error) or ("", False)
        late = isinstance(error, TimeoutError)
        if not (full or late) or hosts.count() > 1:
            return False
        older = [str(step) for step in sorted(self._manager.all_steps())[:-1]] if full else []
        for path in list(self._directory.iterdir()):
            if path.name in older or ".orbax-checkpoint-tmp" in path.name:
                shutil.rmtree(path, ignore_errors=True)
        self._manager.reload()
        what = "the disk is full" if full else "a save was waited for too long, or the clock jumped"
        removed = f"removed step {', '.join(older)} and try" if older else "try"
        log.warning("%s: %s; %s once more", self._directory, what, removed)
        return True

    def _refuse(self, error: Exception) -> NoReturn:
        problem = storage_problem(error)
        if isinstance(error, TimeoutError):
            problem = "it takes too long", False
        if problem is None:
            raise error
        reason, full = problem
        remedy = "free some space; " if full else ""
        raise UserError(
            f"a checkpoint in {self._directory} cannot be written: {reason}; {remedy}those before it "
            "are whole, and the same command resumes from the newest"
        ) from error


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a log line of Orbax or asyncio tells something.

    Orbax warns of every directory that is opened to be read. The threads that save log their errors
    with tracebacks, although `wait` raises them; the tasks of a save that failed do so later.
    """
    of_a_save = record.exc_info and (
        "orbax" in record.pathname or storage_problem(record.exc_info[1]) is not None
    )
    return not of_a_save and "Given directory is read only" not in str(record.msg)


def _report_unraisable(unraisable: Any, report: Callable = sys.unraisablehook) -> None:
    """TensorStore's threads may end after the event loop of a save that failed, which is no news."""
    if str(unraisable.exc_value) != "Event loop is closed":
        report(unraisable)


for _logger in ("absl", "asyncio"):
    logging.getLogger(_logger).addFilter(_is_news)
sys.unraisablehook = _report_unraisable
