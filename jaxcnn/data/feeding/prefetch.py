"""Batches travel to the device while the step before them still computes."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def prefetch(batches: Iterable[T], put: Callable[[T], U], size: int = 2) -> Iterator[U]:
    """Draws batches and puts them on the device in a thread, `size` of them ahead.

    An exception in the thread is raised where its batch would have come. Closing the generator ends
    the thread.
    """
    ready: queue.Queue = queue.Queue(maxsize=size)
    closed = threading.Event()

    def offer(item) -> None:
        while not closed.is_set():
            with contextlib.suppress(
                queue.Full
            ):  # tried again, until there is room or nobody reads
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
