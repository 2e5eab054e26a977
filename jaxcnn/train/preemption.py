"""SIGTERM and Ctrl-C: end after the current step, with everything saved."""

import signal
import threading


class Preemption:
    """A context in which the first SIGTERM or SIGINT only sets `requested`; a second one kills."""

    def __init__(self):
        self.requested = False
        self._former = {}

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._former[number] = signal.signal(number, self._request)
        return self

    def _request(self, number, frame) -> None:
        self.requested = True
        self._restore()

    def __exit__(self, *exception) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}
