"""Checkpoints: the latest ones, to resume from, and apart from them the best one, to use.

All of Orbax is in this file. Saving is asynchronous; a checkpoint appears under its final name only
when it is whole.
"""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import orbax.checkpoint as ocp

from jaxcnn.errors import UserError
from jaxcnn.train.state import TrainState

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints below one directory, each a state and its notes (a JSON dictionary)."""

    def __init__(self, directory: Path, keep: int, read_only: bool = False):
        self.directory = directory.absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep, create=not read_only, read_only=read_only
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def steps(self) -> list[int]:
        """The steps that have a whole checkpoint, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: TrainState, notes: dict) -> None:
        """Starts to save. A checkpoint of the same step, which holds the same, is left as it is."""
        if step not in self.steps():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), notes=ocp.args.JsonSave(notes)
                ),
                force=True,
            )

    def notes(self, step: int) -> dict:
        """The notes of one checkpoint."""
        args = ocp.args.Composite(notes=ocp.args.JsonRestore())
        return self._manager.restore(step, args=args)["notes"]

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict]:
        """The state of one step, with the shapes and shardings of `like`, and its notes.

        Raises whatever Orbax raises for a damaged checkpoint.
        """
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(like), notes=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(step, args=args)
        return restored["state"], restored["notes"]

    def restore_newest(
        self, like: TrainState, check: Callable[[dict], None] = lambda notes: None
    ) -> tuple[TrainState, dict] | None:
        """The newest checkpoint that can be read, or None where there is none at all.

        Damaged ones are said and set aside as 'STEP.damaged', since the run will come by their steps
        again.

        Args:
          check: is given a checkpoint's notes before its state is read, and raises UserError where
            they are not acceptable.

        Raises:
          UserError: there are checkpoints and none of them can be read, or `check` raised it.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                check(self.notes(step))
                restored = self.restore(step, like)
            except UserError:
                raise
            except Exception as error:
                damaged.append(step)
                log.warning(
                    "checkpoint %s is damaged (%s); going back to the one before it",
                    self.directory / str(step),
                    type(error).__name__,
                )
                continue
            self._set_aside(damaged)
            return restored
        if damaged:
            raise UserError(
                f"{self.directory}: all checkpoints are damaged (steps "
                f"{', '.join(map(str, sorted(damaged)))}); --overwrite starts the run anew"
            )
        return None

    def set_all_aside(self) -> None:
        """Renames every checkpoint to 'STEP.damaged'."""
        self._set_aside(self.steps())

    def _set_aside(self, steps: list[int]) -> None:
        for step in steps:
            aside = self.directory / f"{step}.damaged"
            shutil.rmtree(aside, ignore_errors=True)
            (self.directory / str(step)).rename(aside)
        self._manager.reload()

    def wait(self) -> None:
        """Blocks until what was saved is on disk; raises what went wrong in saving it."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()
