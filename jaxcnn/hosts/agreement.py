"""What processes agree on: decisions of one of them, and answers of all.

The answers go through the key-value service that `jax.distributed` runs on process 0; only a vote on
each step is a computation of the devices, so that nobody waits for it.
"""

import itertools
import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.distributed import global_state  # the service has no public interface
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxcnn.errors import UserError

_FOREVER_MS = 10**9  # the watch in `ending` ends a process whose peers are gone
_VISIBLE_WITHIN = 8.0  # seconds, until a new file is seen on every host; NFS takes up to 3

_rounds = itertools.count()  # the same in every process, which all ask the same in the same order


def count() -> int:
    """The number of processes; starts no device."""
    return global_state.num_processes or 1


def primary() -> bool:
    """Whether this is the process that writes files and log lines, and decides what they say."""
    return index() == 0


def index() -> int:
    """The number of this process, from 0."""
    return global_state.process_id or 0


def name_of(process: int) -> str:
    """A process for a message: 'process 1 (node002)'."""
    try:
        return f"process {process} ({global_state.client.key_value_try_get(f'host/{process}')})"
    except Exception:  # it is gone with the service, or has not said its name
        return f"process {process}"


class Progress:
    """When this process last took part in something that all do, and how often it has."""

    def __init__(self):
        self.count, self.limit = 0, None  # seconds; None: no limit
        self.made()

    def made(self) -> None:
        self.count, self._last = self.count + 1, time.monotonic()

    def idle(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self._last


PROGRESS = Progress()


def barrier(name: str) -> None:
    """Waits until every process is here."""
    if count() > 1:
        PROGRESS.made()
        global_state.client.wait_at_barrier(f"{name}/{next(_rounds)}", _FOREVER_MS)


def from_primary(decide: Callable[[], Any]) -> Any:
    """What `decide` returns in the primary process, the only one that calls it; JSON."""
    if count() == 1:
        return decide()
    (decision,) = _exchange(decide() if primary() else None, primary())
    return decision


def each(answer: Any) -> list:
    """The answers of all processes, JSON, in the order of the processes."""
    return [answer] if count() == 1 else _exchange(answer, True)


def first_of(answer: Any) -> Any:
    """The answer of the first process that has one, JSON; None if none has."""
    return next((given for given in each(answer) if given is not None), None)


def any_of(flag: bool) -> bool:
    """Whether the flag is up in any process."""
    return any(each(bool(flag)))


def _exchange(answer: Any, speaks: bool) -> list:
    """The answers of the processes that speak, in order."""
    client, number = global_state.client, next(_rounds)
    if speaks:
        client.key_value_set(f"round/{number}/{index():09}", json.dumps(answer))
    PROGRESS.made()
    client.wait_at_barrier(f"round/{number}", _FOREVER_MS)
    answers = sorted(client.key_value_dir_get(f"round/{number}/"))
    if primary():  # all have read the answers of earlier rounds
        client.key_value_delete(f"round/{number - 1}/")
    return [json.loads(text) for _, text in answers]


def check_equal(what: str, value: str) -> None:
    """Refuses to go on where processes disagree on something that all must have alike.

    Raises:
      UserError: they do; names a process that differs from the primary one.
    """
    values = each(value)
    for process, other in enumerate(values):
        if other != values[0]:
            raise UserError(f"{what} in {name_of(process)} differs from that in {name_of(0)}")


def check_shared(setting: str, directory: Path) -> None:
    """Refuses a directory that not all processes see: a file of the primary's must appear in each.

    Raises:
      UserError: a process does not see it; the directory is as it was before.
    """
    if count() == 1:
        return
    probe = directory / from_primary(lambda: f".seen-{uuid.uuid4().hex}")
    made = _write_probe(setting, probe) if primary() else []
    barrier("probe")
    seen = each(_appears(probe))
    if primary():
        probe.unlink()
        for folder in made:
            folder.rmdir()
    barrier("probed")
    if not all(seen):
        raise UserError(
            f"{setting}={directory}: {name_of(seen.index(False))} does not see what {name_of(0)} "
            "writes there; it must be on a disk that all processes share"
        )


def _write_probe(setting: str, probe: Path) -> list[Path]:
    """Writes the file; returns the folders that this made, innermost first."""
    folder = probe.parent
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
    except OSError as error:
        raise UserError(f"{setting}={folder} cannot be written: {error.strerror}") from error
    return made


def _appears(file: Path) -> bool:
    deadline = time.monotonic() + _VISIBLE_WITHIN
    while not file.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class Vote:
    """Whether any process wants to stop, agreed beside each step.

    A vote is a maximum over all devices, dispatched behind the step; its result is read one step
    later, when it has long been there. All processes thus stop after the same step.
    """

    def __init__(self):
        self._alone, self._pending = count() == 1, None
        if not self._alone:
            mesh = Mesh(np.array(jax.devices()), ("devices",), axis_types=(AxisType.Auto,))
            self._sharding = NamedSharding(mesh, PartitionSpec("devices"))
            whole = NamedSharding(mesh, PartitionSpec())
            self._maximum = jax.jit(jnp.max, out_shardings=whole)

    def cast(self, flag: bool) -> bool:
        """Votes; returns whether any process raised its flag in the vote before."""
        if self._alone:
            return flag
        PROGRESS.made()
        mine = np.full(jax.local_device_count(), flag, np.int8)
        votes = jax.make_array_from_process_local_data(self._sharding, mine)
        before, self._pending = self._pending, self._maximum(votes)
        return before is not None and bool(before.addressable_data(0))
