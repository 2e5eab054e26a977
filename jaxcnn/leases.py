"""Exclusive leases on directories: a file in each, with a heartbeat and a generation.

A process takes a run or a trial by creating `lease-000001`; the file system lets only one process do
so. It then writes a heartbeat to the file every few seconds. When the heartbeats stop, another process
creates `lease-000002` and takes over. If the first one was only slow, it finds the newer lease and
stops. Clocks are never compared between machines: each process times heartbeats by its own.
"""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import psutil

from jaxcnn.errors import UserError
from jaxcnn.files import write_text

log = logging.getLogger(__name__)

BEAT = 5.0  # seconds between heartbeats
EXPIRY = 30.0  # seconds without a heartbeat after which a lease can be taken over
LOOK = 1.0  # seconds for which a holder trusts its last check for a newer lease


class LeaseLost(BaseException):
    """Another process has taken over. No `except Exception` may catch this and save."""


class Lease:
    """A held lease, with a heartbeat until it is released.

    Args:
      begun: monotonic time before the file was created. The process may have been suspended in
        between for longer than a lease lasts.
      since: the time of day, for messages.
    """

    def __init__(self, file: Path, begun: float, since: str):
        self._file, self._beats, self._since = file, 0, since
        self._next = file.with_name(_name(_generation(file) + 1))
        self._confirmed = begun
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LeaseLost if another process has taken over, as of at most a second ago.

        The age of the last heartbeat would not do: the process may have been suspended just before
        it wrote one, and the clock stops while a machine is suspended.
        """
        now = time.monotonic()
        if now - self._confirmed < LOOK:
            return
        if self._next.exists():
            raise LeaseLost(self._file.parent.name)
        self._confirmed = now

    def release(self) -> None:
        """Stops the heartbeat: another process may take the directory."""
        self._released.set()
        self._thread.join()
        with suppress(OSError):  # disk full: it expires, or is free once the process ends
            if not self._next.exists():
                write_text(self._file, _content(self._beats, self._since, released=True))

    def _beat(self) -> None:
        while not self._released.wait(BEAT):
            with suppress(OSError):  # full disk or unreachable server: the next beat may succeed
                if self._next.exists():
                    return
                self._beats += 1
                write_text(self._file, _content(self._beats, self._since))


class Leases:
    """Takes leases for one process, and tracks how long the leases of others have been silent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._seen: dict[Path, tuple[bytes, float, float]] = {}  # content, silence, last look

    def take(self, directory: Path) -> Lease | None:
        """Creates the directory and leases it; returns None if another process holds it."""
        begun, since = time.monotonic(), f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        newest = max(directory.glob("lease-*[0-9]"), default=None)
        if newest is not None and not self._is_free(newest):
            return None
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / _name(1 if newest is None else _generation(newest) + 1)
        try:
            with file.open("x") as opened:
                opened.write(_content(0, since))
        except FileExistsError:  # another process was faster
            return None
        return Lease(file, begun, since)

    def _is_free(self, file: Path) -> bool:
        """Whether a lease was released, its process is dead, or its beats have stopped."""
        try:
            content = file.read_bytes()
        except OSError:  # being replaced, on a network file system
            return False
        try:
            holder = json.loads(content)
        except ValueError:  # being created, or its process died while creating it
            holder = {}
        if holder.get("released") or _is_dead(holder):
            return True
        # A long gap between two checks is not a long silence: both sides may have been suspended.
        now = self._clock()
        seen, silence, before = self._seen.get(file, (None, 0.0, now))
        silence = silence + min(now - before, BEAT) if content == seen else 0.0
        self._seen[file] = content, silence, now
        return silence > EXPIRY


@contextmanager
def held(directory: Path, setting: str = "workdir") -> Iterator[Lease]:
    """A context in which only this process uses a directory.

    The lease of a process that has ended, or that gives no sign of life for half a minute, is taken
    over.

    Raises:
      UserError: another process uses it.
    """
    leases, first, waits = Leases(), _holder(directory), False
    while (lease := leases.take(directory)) is None:
        holder = _holder(directory)
        if holder and (holder.get("host") == _host() or holder != first):  # it lives
            raise UserError(
                f"{setting}={directory} is in use by {_name_of(holder)}; wait until that ends, or use "
                "another directory"
            )
        if not waits:
            log.info("%s is held by %s; is it alive?", directory, _name_of(first))
        waits = True
        time.sleep(1.0)
    if first and not first.get("released"):
        log.info("%s was held by %s, which is gone", directory, _name_of(first))
    try:
        yield lease
    finally:
        lease.release()


def _holder(directory: Path) -> dict:
    """What the newest lease says; {} if there is none."""
    with suppress(OSError, ValueError):
        return json.loads(max(directory.glob("lease-*[0-9]")).read_text())
    return {}


def _name_of(holder: dict) -> str:
    host = str(holder.get("host", "")).split(" ")[0] or "an unknown host"
    return f"process {holder.get('process')} on {host} (since {holder.get('since', 'unknown')})"


def _content(beats: int, since: str, released: bool = False) -> str:
    return json.dumps(
        {
            "host": _host(),
            "process": os.getpid(),
            "started": _started(os.getpid()),
            "since": since,
            "beats": beats,
            "released": released,
        }
    )


def _is_dead(holder: dict) -> bool:
    """Whether the holder is a process on this machine that has ended."""
    if holder.get("host") != _host():
        return False
    try:
        return _started(holder["process"]) != holder["started"]  # the id may be reused
    except (PermissionError, psutil.AccessDenied):
        return False


def _started(process: int) -> float | None:
    """Returns when a process on this machine started; None if it has ended.

    On Linux, in clock ticks since boot: psutil's wall-clock times change when the clock is set.
    """
    try:
        if not Path("/proc/self/stat").exists():
            return psutil.Process(process).create_time()
        os.kill(process, 0)  # /proc may hide another user's processes; this raises PermissionError
        state, *numbers = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
        return None
    return None if state in "ZX" else int(numbers[18])


def _host() -> str:
    """Identifies the machine, its boot and the container: process ids are valid only within them.

    Host names are not enough: machines created from the same image may share one.
    """
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    return " ".join(
        [
            socket.gethostname(),
            boot.read_text().strip() if boot.exists() else "",
            os.readlink(namespace) if namespace.exists() else "",
        ]
    )


def _name(generation: int) -> str:
    return f"lease-{generation:06}"


def _generation(file: Path) -> int:
    return int(file.name.removeprefix("lease-"))
