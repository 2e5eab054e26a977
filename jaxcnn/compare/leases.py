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
from pathlib import Path

import psutil

from jaxcnn.files import write_text

BEAT = 5.0  # seconds between beats
EXPIRY = 30.0  # seconds without a beat, after which a lease is taken over


class LeaseLost(BaseException):
    """Another worker has taken the trial over. Nothing may be saved any more, hence no Exception."""


class Lease:
    """A held lease; it beats until it is released."""

    def __init__(self, file: Path):
        self._file, self._beats = file, 0
        self._next = file.with_name(_name(_generation(file) + 1))
        self._confirmed = time.monotonic()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LeaseLost if another worker has taken the trial over.

        It looks only if the last beat is so old that another may have: after the process was stopped,
        or the file system could not be reached.
        """
        if time.monotonic() - self._confirmed > EXPIRY / 2 and self._next.exists():
            raise LeaseLost(self._file.parent.name)

    def release(self) -> None:
        """Stops the beats; the trial has ended, or anyone may go on with it."""
        self._released.set()
        self._thread.join()
        if not self._next.exists():
            write_text(self._file, _content(self._beats, released=True))

    def _beat(self) -> None:
        while not self._released.wait(BEAT):
            if self._next.exists():
                return
            self._beats += 1
            try:
                write_text(self._file, _content(self._beats))
            except OSError:  # a full disk, a server that is away: the next beat may succeed
                continue
            self._confirmed = time.monotonic()


class Leases:
    """Takes leases for one worker, and remembers when it last saw each of the others beat."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._seen: dict[Path, tuple[str, float]] = {}

    def take(self, directory: Path) -> Lease | None:
        """A lease on the directory, which is created; None if another worker holds it."""
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
        return Lease(file)

    def _is_free(self, file: Path) -> bool:
        """Whether a lease was released, its process is dead, or its beats have stopped."""
        try:
            text = file.read_text()
        except FileNotFoundError:
            return False
        try:
            holder = json.loads(text)
        except ValueError:  # it is being created, or was when its worker died
            holder = {}
        if holder.get("released") or _is_dead(holder):
            return True
        seen, since = self._seen.get(file, (None, 0.0))
        if text != seen:
            self._seen[file] = text, self._clock()
            return False
        return self._clock() - since > EXPIRY


def _content(beats: int, released: bool = False) -> str:
    process = psutil.Process()
    return json.dumps(
        {
            "host": _host(),
            "process": process.pid,
            "started": process.create_time(),
            "beats": beats,
            "released": released,
        }
    )


def _is_dead(holder: dict) -> bool:
    """Whether the holder is a process of this machine that has ended."""
    if holder.get("host") != _host():
        return False
    try:
        started = psutil.Process(holder["process"]).create_time()
        return abs(started - holder["started"]) > 1  # a later process of the same number
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def _host() -> str:
    """The machine, and the container on it: process numbers mean something within one only."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {os.readlink(namespace) if namespace.exists() else ''}"


def _name(generation: int) -> str:
    return f"lease-{generation:06}"


def _generation(file: Path) -> int:
    return int(file.name.removeprefix("lease-"))
