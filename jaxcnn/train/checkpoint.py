"""Checkpoints: the latest ones, to resume from, and apart from them the best one, to use.

All of Orbax is in this file. Saving is asynchronous; a checkpoint appears under its final name only
when it is whole.
"""

import errno
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxcnn.errors import UserError
from jaxcnn.train.state import TrainState

log = logging.getLogger(__name__)

# What keeps a whole checkpoint from being read: errors of the system, and how storage says them.
_ERRNOS = (
    errno.EACCES, errno.EPERM, errno.ETIMEDOUT, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
)  # fmt: skip
_IN_WORDS = ("PERMISSION_DENIED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE")


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

        Raises:
          UserError: it is whole, and cannot be read or is of another structure.
          Exception: whatever Orbax raises for a damaged checkpoint.
        """
        try:
            self._check_structure(step, like)
            args = ocp.args.Composite(
                state=ocp.args.StandardRestore(like), notes=ocp.args.JsonRestore()
            )
            restored = self._manager.restore(step, args=args)
        except Exception as error:
            self._raise_if_out_of_reach(step, error)
            raise
        return restored["state"], restored["notes"]

    def restore_parts(self, step: int, like: Mapping[str, Any]) -> dict[str, Any]:
        """Some fields of the state of one step, as {'params': …}; nothing else of it is read.

        Args:
          like: the fields' shapes and shardings.
        """
        args = ocp.args.PyTreeRestore(
            item=dict(like),
            restore_args=ocp.checkpoint_utils.construct_restore_args(dict(like)),
            partial_restore=True,
        )
        try:
            self._check_structure(step, like, whole=False)
            with ocp.PyTreeCheckpointer() as checkpointer:
                return checkpointer.restore(self.directory / str(step) / "state", args=args)
        except Exception as error:
            self._raise_if_out_of_reach(step, error)
            raise

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
          UserError: there are checkpoints and none of them can be read; or one is whole and out of
            reach or of another structure, and nothing was touched; or `check` raised it.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                check(self.notes(step))
                restored = self.restore(step, like)
            except UserError:
                raise
            except Exception as error:
                self._raise_if_out_of_reach(step, error)
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
                f"{', '.join(map(str, sorted(damaged)))}); overwrite=True starts the run anew"
            )
        return None

    def set_all_aside(self) -> None:
        """Renames every checkpoint to 'STEP.damaged'."""
        self._set_aside(self.steps())

    def wait(self) -> None:
        """Blocks until what was saved is on disk; raises what went wrong in saving it."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()

    def _set_aside(self, steps: list[int]) -> None:
        for step in steps:
            aside = self.directory / f"{step}.damaged"
            shutil.rmtree(aside, ignore_errors=True)
            (self.directory / str(step)).rename(aside)
        self._manager.reload()

    def _check_structure(self, step: int, like: Any, whole: bool = True) -> None:
        """Refuses a checkpoint that holds other arrays than are wanted: it is not damaged."""
        directory = self.directory / str(step) / "state"
        there = _shapes(ocp.StandardCheckpointHandler().metadata(directory).tree)
        wanted = _shapes(like)
        problems = [f"it lacks {path}" for path in wanted if path not in there]
        problems += [f"it has {path} besides" for path in there if whole and path not in wanted]
        problems += [
            f"{path} is {there[path]} there and {wanted[path]} here"
            for path in wanted
            # A random key is stored as its numbers, which have an axis more.
            if path in there and path != "rng" and there[path] != wanted[path]
        ]
        if problems:
            raise UserError(
                f"{directory.parent} is whole, but of another structure than this config's state: "
                f"{problems[0]}{f' (and {len(problems) - 1} more)' if problems[1:] else ''}; "
                "it was left as it is"
            )

    def _raise_if_out_of_reach(self, step: int, error: Exception) -> None:
        """Raises UserError where a checkpoint may well be whole, and cannot be read at present."""
        said = str(error)
        if (isinstance(error, OSError) and error.errno in _ERRNOS) or isinstance(
            error, TimeoutError | MemoryError
        ):
            reason = getattr(error, "strerror", None) or said or type(error).__name__
        elif any(word in said for word in _IN_WORDS):
            reason = next(word for word in _IN_WORDS if word in said).replace("_", " ").lower()
        else:
            return
        raise UserError(
            f"{self.directory / str(step)} cannot be read: {reason}; nothing was changed"
        ) from error


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """{'params/head/kernel': shape} of arrays, or of what Orbax says of them."""

    def name(key: Any) -> str:
        return str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key))))

    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(map(name, path)): tuple(leaf.shape) for path, leaf in leaves}
