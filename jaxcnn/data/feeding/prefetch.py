"""Copies batches to the device while the previous step is still running."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def prefetch(batches: Iterable[T], put: Callable[[T], U], size: int = 2) -> Iterator[U]:
    """Puts batches on the device from a thread, up to `size` ahead.

    An exception in the thread is raised in place of its batch. Closing the generator ends the
    thread.
    """
    ready: queue.Queue = queue.Queue(maxsize=size)
    closed = threading.Event()

    def offer(item) -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):  # then try again
                ready.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            for batch in batches:
                offer((put(batch), None))
                if closed.is_set():
                    return
            offer((None, StopIteration()))
        except BaseException as error:
            offer((None, error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            batch, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield batch
    finally:
        closed.set()
        thread.join()
