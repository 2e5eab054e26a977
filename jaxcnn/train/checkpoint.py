"""Checkpoints: the latest ones, to resume from, and separately the best one.

Only this module, `saving` and `seal` use Orbax. Saving is asynchronous; a checkpoint appears under its
final name only once it is complete.
"""

import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxcnn import hosts
from jaxcnn.errors import UserError
from jaxcnn.train.damage import DamagedError, raise_if_out_of_reach, what_is_wrong
from jaxcnn.train.saving import Saving
from jaxcnn.train.seal import FORMAT, SealedPath, check_format, check_seal
from jaxcnn.train.state import TrainState

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints in one directory, each a state and its notes (a JSON dictionary).

    Args:
      keep: how many of the newest.
      scheduled: whether a step's checkpoint is one that the config asks for, and not due to an
        interruption; the newest of these is kept too.
    """

    def __init__(
        self,
        directory: Path,
        keep: int,
        read_only: bool = False,
        scheduled: Callable[[int], bool] = lambda step: True,
    ):
        self.directory, self._scheduled = directory.absolute(), scheduled
        if not read_only:
            hosts.from_primary(lambda: self.directory.mkdir(parents=True, exist_ok=True))
        self._open = ExitStack()
        self._path = self._open.enter_context(_plain_path(self.directory))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=None if read_only else _Kept(keep, scheduled), read_only=read_only,
            create=False, save_interval_steps=0 if read_only else 1,
            temporary_path_class=SealedPath,
            multiprocessing_options=_among_processes(directory.name),
        )  # fmt: skip
        self._manager = ocp.CheckpointManager(self._path, options=options)
        self._saving = Saving(self.directory, self._manager)

    def steps(self) -> list[int]:
        """The steps that have a complete checkpoint, in order."""
        return sorted(self._manager.all_steps())

    def last_scheduled(self) -> int | None:
        """The newest step whose checkpoint the config asks for; None if there is none."""
        return max(filter(self._scheduled, self.steps()), default=None)

    def save(self, step: int, state: TrainState, notes: dict) -> None:
        """Starts to save; an existing checkpoint of this step, which is equal, is not replaced.

        If the disk is full, an attempt follows once the older checkpoints are removed.

        Raises:
          UserError: this checkpoint, or the one before it, cannot be written.
        """
        if step in self.steps():
            return
        notes = ocp.args.JsonSave({"format": FORMAT, **notes})
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), notes=notes)
        self._saving.start(step, args)

    def notes(self, step: int) -> dict:
        """The notes of one checkpoint.

        Raises:
          UserError: a later version wrote the checkpoint.
          Exception: BrokenSeal, or any error that Orbax raises for a damaged checkpoint.
        """
        directory = self._path / str(step)
        check_seal(directory, "notes")
        handler = ocp.JsonCheckpointHandler()
        notes = handler.restore(directory / "notes", args=ocp.args.JsonRestore())
        check_format(directory, notes.pop("format", 1))
        return notes

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state of one step, with the shapes and shardings of `like`.

        Raises:
          UserError: the checkpoint is intact but cannot be read, or has a different structure.
          Exception: BrokenSeal, or any error that Orbax raises for a damaged checkpoint.
        """
        try:
            check_seal(self._path / str(step), "state")
            self._check_structure(step, like)
            # Not by the manager, which would wait for processes whose part of it is damaged.
            args = ocp.args.StandardRestore(like)
            return ocp.StandardCheckpointHandler().restore(
                self._path / str(step) / "state", args=args
            )
        except Exception as error:
            raise_if_out_of_reach(self.directory / str(step), error)
            raise

    def restore_parts(self, step: int, like: Mapping[str, Any]) -> dict[str, Any]:
        """Some fields of the state of one step, such as {'params': …}; only these are read.

        Args:
          like: the shapes and shardings of the fields.

        Raises:
          UserError, Exception: as `restore`.
        """
        args = ocp.args.PyTreeRestore(
            item=dict(like),
            restore_args=ocp.checkpoint_utils.construct_restore_args(dict(like)),
            partial_restore=True,
        )
        try:
            check_seal(self._path / str(step), "state")
            self._check_structure(step, like, whole=False)
            return ocp.PyTreeCheckpointHandler().restore(
                self._path / str(step) / "state", args=args
            )
        except Exception as error:
            raise_if_out_of_reach(self.directory / str(step), error)
            raise

    def restore_newest(
        self, like: TrainState, check: Callable[[dict], None] = lambda notes: None
    ) -> tuple[TrainState, dict] | None:
        """The newest readable checkpoint, or None if there are no checkpoints.

        Damaged ones are logged and renamed to 'STEP.damaged', since the run will reach their steps
        again. A checkpoint is damaged if any process cannot read its part.

        Args:
          check: called with a checkpoint's notes before its state is read; raises UserError to
            reject them.

        Raises:
          DamagedError: all checkpoints are damaged.
          UserError: one is intact but cannot be read or has a different structure, and nothing was
            changed; or `check` raised it.
        """
        damaged = []
        for step in reversed(hosts.from_primary(self.steps)):
            notes = hosts.from_primary(lambda step=step: self._unless_damaged(self.notes, step))
            if notes is not None:
                check(notes)
                state = self._unless_damaged(self.restore, step, like)
                if not hosts.any_of(state is None):
                    self._set_aside(damaged)
                    return state, notes
            damaged.append(step)
        if damaged:
            raise DamagedError(
                f"{self.directory}: all checkpoints are damaged (steps "
                f"{', '.join(map(str, sorted(damaged)))}); overwrite=True starts the run anew"
            )
        return None

    def _unless_damaged(self, read: Callable[..., Any], step: int, *arguments: Any) -> Any:
        """What `read` returns for a step; None, with a line in the log, if it is damaged."""
        try:
            return read(step, *arguments)
        except UserError:
            raise
        except Exception as error:
            raise_if_out_of_reach(self.directory / str(step), error)
            log.warning(
                "checkpoint %s is damaged (%s); going back to the one before it",
                self.directory / str(step),
                what_is_wrong(error),
            )
            return None

    def set_all_aside(self) -> None:
        """Renames every checkpoint to 'STEP.damaged'."""
        self._set_aside(hosts.from_primary(self.steps))

    def discard_after(self, step: int) -> None:
        """Removes the checkpoints of later steps, which a run that goes back will reach otherwise."""

        def remove() -> None:
            for later in filter(lambda known: known > step, self.steps()):
                shutil.rmtree(self.directory / str(later))

        hosts.from_primary(remove)
        self._manager.reload()

    def wait(self) -> None:
        """Blocks until everything is on disk.

        Raises:
          UserError: a checkpoint cannot be written.
        """
        self._saving.wait()

    def close(self) -> None:
        self._saving.close()
        self._open.close()

    def _set_aside(self, steps: list[int]) -> None:
        def rename() -> None:
            for step in steps:
                aside = self.directory / f"{step}.damaged"
                shutil.rmtree(aside, ignore_errors=True)
                (self.directory / str(step)).rename(aside)

        hosts.from_primary(rename)
        self._manager.reload()

    def _check_structure(self, step: int, like: Any, whole: bool = True) -> None:
        """Refuses an intact checkpoint whose arrays differ from those of `like`."""
        there = _shapes(
            ocp.StandardCheckpointHandler().metadata(self._path / str(step) / "state").tree
        )
        wanted = _shapes(like)
        problems = [f"it lacks {path}" for path in wanted if path not in there]
        problems += [f"it also has {path}" for path in there if whole and path not in wanted]
        problems += [
            f"{path} is {there[path]} there and {wanted[path]} here"
            for path in wanted
            # A random key is stored as integers with an additional axis.
            if path in there and path != "rng" and there[path] != wanted[path]
        ]
        if problems:
            raise UserError(
                f"{self.directory / str(step)} is intact, but its structure is not this config's: "
                f"{problems[0]}{f' (and {len(problems) - 1} more)' if problems[1:] else ''}; "
                "it was not changed"
            )


@dataclass(frozen=True)
class _Kept:
    """Which checkpoints Orbax keeps (its `PreservationPolicy`): the newest, and the last scheduled."""

    newest: int
    scheduled: Callable[[int], bool]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*sorted(steps)[-self.newest :], max(filter(self.scheduled, steps), default=None)}
        return [step in kept for step in steps]


def _among_processes(name: str) -> ocp.options.MultiprocessingOptions:
    """Processes wait for each other by their service, not by a computation, which has no time limit."""
    if hosts.count() == 1:
        return ocp.options.MultiprocessingOptions()
    return ocp.options.MultiprocessingOptions(
        active_processes=set(range(hosts.count())), barrier_sync_key_prefix=name
    )


@contextmanager
def _plain_path(directory: Path) -> Iterator[Path]:
    """A path to the directory that every library takes as it is.

    Orbax looks for files with `glob`, TensorStore takes a backslash for a slash, and both take a folder
    named 'gs:' for a bucket.
    """
    if re.fullmatch(r"[\w ./+=@,~-]*", str(directory)):
        yield directory
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "checkpoints")
        link.symlink_to(directory, target_is_directory=True)
        yield link


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """{'params/head/kernel': shape} of arrays, or of Orbax's metadata of them."""

    def name(key: Any) -> str:
        return str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key))))

    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(map(name, path)): tuple(leaf.shape) for path, leaf in leaves}
