"""Who runs a trial: an exclusive lease in its directory, with a heartbeat and a generation.

A worker takes a trial by creating `lease-000001`, which the file system lets only one do. It writes a
beat into it every few seconds. When the beats stop, another worker creates `lease-000002` and takes
the trial over. The former, if it was only slow, finds the newer lease and lets go. No clock is
compared between machines: who waits watches for beats by its own.
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

BEAT = 5.0  # seconds between beats
EXPIRY = 30.0  # seconds without a beat, after which a lease is taken over
LOOK = 1.0  # seconds for which a holder trusts its last look for a newer lease


class LeaseLost(BaseException):
    """Another worker has taken the trial over. Nothing may be saved any more, hence no Exception."""


class Lease:
    """A held lease; it beats until it is released.

    Args:
      begun: by the monotonic clock, before the file was created; the process may have been stopped
        in between for longer than a lease lasts.
    """

    def __init__(self, file: Path, begun: float):
        self._file, self._beats = file, 0
        self._next = file.with_name(_name(_generation(file) + 1))
        self._confirmed = begun
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LeaseLost if another worker has taken the trial over, as of a second ago.

        It looks for itself and does not ask when the last beat was: the process may have been stopped
        just before it wrote one, and the clock stands still while a machine is suspended.
        """
        now = time.monotonic()
        if now - self._confirmed < LOOK:
            return
        if self._next.exists():
            raise LeaseLost(self._file.parent.name)
        self._confirmed = now

    def release(self) -> None:
        """Stops the beats; the trial has ended, or anyone may go on with it."""
        self._released.set()
        self._thread.join()
        with suppress(OSError):  # on a full disk it expires, or is free when the process ends
            if not self._next.exists():
                write_text(self._file, _content(self._beats, released=True))

    def _beat(self) -> None:
        while not self._released.wait(BEAT):
            with suppress(OSError):  # a full disk, a server that is away: the next beat may succeed
                if self._next.exists():
                    return
                self._beats += 1
                write_text(self._file, _content(self._beats))


class Leases:
    """Takes leases for one worker, and remembers for how long it has seen others not beat."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._seen: dict[Path, tuple[bytes, float, float]] = {}  # content, silence, last look

    def take(self, directory: Path) -> Lease | None:
        """A lease on the directory, which is created; None if another worker holds it."""
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
        except OSError:  # it is being replaced, and the file system is a network's
            return False
        try:
            holder = json.loads(content)
        except ValueError:  # it is being created, or was when its worker died
            holder = {}
        if holder.get("released") or _is_dead(holder):
            return True
        # A long time between two looks is no long silence: both sides may have been suspended.
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
    """Whether the holder is a process of this machine that has ended."""
    if holder.get("host") != _host():
        return False
    try:
        return _started(holder["process"]) != holder["started"]  # a later process of the number
    except (PermissionError, psutil.AccessDenied):
        return False


def _started(process: int) -> float | None:
    """When a process of this machine started; None: it has ended.

    On Linux in ticks since the boot: psutil's times of day change when the clock is set.
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
    """The machine since its boot, and the container on it: process numbers mean nothing beyond.

    Names do not suffice: machines that were made of one image may share theirs.
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
