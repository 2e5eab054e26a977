"""Exclusive leases on trials: a file in the trial's directory, with a heartbeat and a generation.

A worker takes a trial by creating `lease-000001`; the file system lets only one worker do so. The
worker then writes a heartbeat to the file every few seconds. When the heartbeats stop, another worker
creates `lease-000002` and takes over the trial. If the first worker was only slow, it finds the newer
lease and stops. Clocks are never compared between machines: each worker times heartbeats by its own.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from jaxcnn.files import write_text

BEAT = 5.0  # seconds between heartbeats
EXPIRY = 30.0  # seconds without a heartbeat after which a lease can be taken over
LOOK = 1.0  # seconds for which a holder trusts its last check for a newer lease


class LeaseLost(BaseException):
    """Another worker has taken over the trial. No `except Exception` may catch this and save."""


class Lease:
    """A held lease, with a heartbeat until it is released.

    Args:
      begun: monotonic time before the file was created. The process may have been suspended in
        between for longer than a lease lasts.
    """

    def __init__(self, file: Path, begun: float):
        self._file, self._beats = file, 0
        self._next = file.with_name(_name(_generation(file) + 1))
        self._confirmed = begun
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LeaseLost if another worker has taken over the trial, as of at most a second ago.

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
        """Stops the heartbeat: the trial has ended, or another worker may continue it."""
        self._released.set()
        self._thread.join()
        with suppress(OSError):  # disk full: it expires, or is free once the process ends
            if not self._next.exists():
                write_text(self._file, _content(self._beats, released=True))

    def _beat(self) -> None:
        while not self._released.wait(BEAT):
            with suppress(OSError):  # full disk or unreachable server: the next beat may succeed
                if self._next.exists():
                    return
                self._beats += 1
                write_text(self._file, _content(self._beats))


class Leases:
    """Takes leases for one worker, and tracks how long the leases of others have been silent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._seen: dict[Path, tuple[bytes, float, float]] = {}  # content, silence, last look

    def take(self, directory: Path) -> Lease | None:
        """Creates the directory and leases it; returns None if another worker holds it."""
        begun = time.monotonic()
        newest = max(directory.glob("lease-*[0-9]"), default=None)
        if newest is not None and not self._is_free(newest):
            return None
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / _name(1 if newest is None else _generation(newest) + 1)
        try:
            with file.open("x") as opened:
                opened.write(_content(0))
        except FileExistsError:  # another worker was faster
            return None
        return Lease(file, begun)

    def _is_free(self, file: Path) -> bool:
        """Whether a lease was released, its process is dead, or its beats have stopped."""
        try:
            content = file.read_bytes()
        except OSError:  # being replaced, on a network file system
            return False
        try:
            holder = json.loads(content)
        except ValueError:  # being created, or its worker died while creating it
            holder = {}
        if holder.get("released") or _is_dead(holder):
            return True
        # A long gap between two checks is not a long silence: both sides may have been suspended.
        now = self._clock()
        seen, silence, before = self._seen.get(file, (None, 0.0, now))
        silence = silence + min(now - before, BEAT) if content == seen else 0.0
        self._seen[file] = content, silence, now
        return silence > EXPIRY


def _content(beats: int, released: bool = False) -> str:
    return json.dumps(
        {
            "host": _host(),
            "process": os.getpid(),
            "started": _started(os.getpid()),
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
