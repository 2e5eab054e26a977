"""How processes end together: what happens to one is told to all, and none waits for one that is gone.

Exit codes are those of the command line: 1 after an error, 76 after a divergence; 75 where the same
command resumes the run, after a signal, or because another process is gone or stuck.
"""

import atexit
import ctypes
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import jax
from jax._src.distributed import global_state

from jaxcnn.errors import UserError
from jaxcnn.hosts.agreement import PROGRESS, barrier, count, index, name_of, primary

_RESUMABLE, _ERROR = 75, 1
# Seconds. When a run has ended well, process 0 may still draw its curves.
_PARTS_WITHIN = 300
# In which the others hear how the job ends: so long process 0, which runs the service, stays.
_HEARD_WITHIN = 10
# A broken connection is seen before the death of the process behind it: heartbeats take 30 s.
_KNOWN_WITHIN = 40

_ending = threading.Lock()  # the thread that ends this process, and says why, takes it for good

_AGAIN = "the same command resumes the run"


@contextmanager
def together(stuck_after: float | None = None) -> Iterator[None]:
    """A context in which processes end together, each with the same message and code.

    An exception in one of them, its death, a signal outside the training loop: the others say which
    process it was and exit, whatever they wait for. Contexts may be nested.

    Args:
      stuck_after: seconds without progress after which all end, naming the process that the others
        wait for.
    """
    if count() == 1 or _Watch.on_duty is not None:
        former = PROGRESS.limit
        PROGRESS.limit = stuck_after or former
        try:
            yield
        finally:
            PROGRESS.limit = former
        return
    watch = _Watch.on_duty = _Watch()
    PROGRESS.limit = stuck_after
    watch.start()
    try:
        yield
        barrier("end")
        watch.over = True
    except UserError as error:
        _fail(watch, str(error), error.exit_code)
        raise
    except BaseException as error:
        if isinstance(error, RuntimeError):  # of a connection, perhaps: another process knows why
            time.sleep(_KNOWN_WITHIN)
        _fail(watch, f"{type(error).__name__}: {error}".splitlines()[0])
        raise
    finally:
        _Watch.on_duty = None


def end(message: str, code: int) -> None:
    """Ends all processes at once with this code, and a message, which this one has said already."""
    if count() > 1:
        _ending.acquire(blocking=False)
        told = _tell({"process": index(), "message": message, "code": code})
        leave(told["code"])


def leave(code: int) -> None:
    """Ends this process at once, once the others have heard why."""
    if count() > 1 and primary():
        deadline = time.monotonic() + _HEARD_WITHIN
        with suppress(Exception):
            while time.monotonic() < deadline and _heard() < count() - 1:
                time.sleep(0.1)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    logging.shutdown()
    os._exit(code)  # jax would wait at exit for processes that are gone


def part() -> None:
    """Disconnects at the end of the program: process 0, which runs the service, after all others."""
    client = global_state.client
    if client is None:
        return
    with suppress(Exception):
        client.wait_at_barrier("part", 1000 * _PARTS_WITHIN)
        while primary() and len(client.get_live_nodes(list(range(count())))) > 1:
            time.sleep(0.05)
    jax.distributed.shutdown()


def _fail(watch: "_Watch", message: str, code: int = _ERROR) -> None:
    """Tells the others of this process's error, or obeys if another one was first."""
    watch.over = True
    me = index()
    told = _tell({"process": me, "message": message, "code": code})
    if told["process"] != me and not (primary() and told["message"] == message):
        _obey(told)
    _ending.acquire()
    atexit.register(leave, code)  # before jax's own, which waits for the others


def _tell(end: dict) -> dict:
    """Publishes how the job ends; returns what was published first."""
    with suppress(Exception):  # it is published, or the service is gone
        global_state.client.key_value_set("end", json.dumps(end))
    return _told() or end


def _told() -> dict | None:
    """How the job ends, once a process has told."""
    try:
        return json.loads(global_state.client.key_value_try_get("end"))
    except Exception:  # not yet, or the service is gone, which `expect_loss_of` deals with
        return None


def _heard() -> int:
    return len(global_state.client.key_value_dir_get("heard/"))


def _obey(end: dict) -> None:
    """Ends this process as another one has told; the primary process says why."""
    _ending.acquire()
    if primary():
        _say(f"{name_of(end['process'])}: {end['message']}")
    else:
        with suppress(Exception):
            global_state.client.key_value_set(f"heard/{index()}", "")
    leave(end["code"])


def _say(message: str) -> None:
    sys.stderr.write(f"jaxcnn: error: {message}\n")


class _Watch:
    """Threads that look for the end of the job while this process computes or waits."""

    on_duty: "_Watch | None" = None

    def __init__(self):
        self.over = False  # this process ends by itself

    def start(self) -> None:
        PROGRESS.made()
        for work in (self._listen, self._look_for_lost, self._look_for_stuck):
            threading.Thread(target=work, daemon=True, name=work.__name__).start()

    def _listen(self) -> None:
        while not self.over:
            if (end := _told()) and not self.over:
                _obey(end)
            time.sleep(0.5)

    def _look_for_lost(self) -> None:
        """Compares the processes that answer, by the heartbeats that jax's service receives."""
        first: dict[int, int] = {}
        while not self.over:
            with suppress(Exception):  # without the service there is no answer
                live = global_state.client.get_live_nodes(list(range(count())))
                first = first or live
                lost = [process for process in first if live.get(process) != first[process]]
                if lost and not self.over:
                    self._end(lost[0], f"is gone; {_AGAIN}")
            time.sleep(1)

    def _look_for_stuck(self) -> None:
        """Compares how far each process has come, once nothing moves any more."""
        while not self.over:
            time.sleep(0.5)
            limit, idle = PROGRESS.limit, PROGRESS.idle()
            if limit is None or idle < limit:
                continue
            client = global_state.client
            with suppress(Exception):
                client.key_value_set(f"stuck/{index()}", str(PROGRESS.count))
                time.sleep(5)  # the others find out at about the same time
                if PROGRESS.idle() < limit or self.over:
                    continue
                counts = client.key_value_dir_get("stuck/")
                behind = min(counts, key=lambda entry: int(entry[1]))[0].rsplit("/", 1)[1]
                reason = f"has not gone on for {limit:g} s (config.processes.stuck_after)"
                self._end(int(behind), f"{reason}, and the others wait for it; {_AGAIN}")

    def _end(self, process: int, what: str) -> None:
        """Ends the job because of another process, or of this one, which cannot."""
        _obey(_tell({"process": process, "message": what, "code": _RESUMABLE}))


_on_abort: Callable[[], tuple[str, int] | None] = lambda: None  # noqa: E731


def expect_abort(message: str) -> None:
    """Replaces jax's abort by an error, as long as processes join."""
    _replace_abort(lambda: (message, _ERROR))


def expect_loss_of(host: str, port: int) -> None:
    """Replaces jax's abort by a message where the reason is the loss of process 0, with its service."""

    def reason() -> tuple[str, int] | None:
        try:
            socket.create_connection((host, port), timeout=2).close()
        except OSError:
            return f"process 0 ({host}:{port}) is gone; {_AGAIN}", _RESUMABLE
        return None  # a bug, whose abort is not ours to explain

    _replace_abort(reason)


def _replace_abort(reason: Callable[[], tuple[str, int] | None]) -> None:
    """Calls `reason` when this process aborts: jax's client offers no other way to hear of a loss.

    The client calls abort() in a thread of its own, in which Python may run.
    """
    global _on_abort
    _on_abort = reason
    ctypes.CDLL(None).signal(signal.SIGABRT, _handler)


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _handler(number: int) -> None:
    if end := _on_abort():
        _ending.acquire()  # or waits for the thread that ends this process already
        message, code = end
        _say(message)
        leave(code)
