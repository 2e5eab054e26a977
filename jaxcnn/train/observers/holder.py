"""An observer that ends a run whose directory another process has taken over."""

from jaxcnn.leases import Lease
from jaxcnn.train.observers.base import Observer, Start


class Holder(Observer):
    """Checks that the lease on the run's directory still holds."""

    def __init__(self, lease: Lease):
        self._lease = lease

    def on_start(self, start: Start) -> None:
        self._lease.check()

    def on_steps(self, step: int) -> None:
        self._lease.check()

    def on_log(self, line: dict) -> None:
        self._lease.check()

    def on_end(self, result: dict) -> None:
        self._lease.check()
