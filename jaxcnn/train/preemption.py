"""SIGTERM and Ctrl-C: stop after the current step, with everything saved."""

import signal
import threading


class Preempted(KeyboardInterrupt):
    """A signal ended a run, which is saved and can be resumed; a loop over runs ends too.

    Attributes:
      result: the content of `result.json`.
    """

    def __init__(self, result: dict):
        super().__init__(f"stopped by a signal; saved at step {result['steps']}")
        self.result = result


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
