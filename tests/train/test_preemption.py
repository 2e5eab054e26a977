import os
import signal
import threading

import pytest

from jaxcnn.train.preemption import Preemption


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_and_the_second_is_the_former_handler_s(number):
    received = []
    former = signal.signal(number, lambda *_: received.append("former"))
    try:
        with Preemption() as preemption:
            assert not preemption.requested
            os.kill(os.getpid(), number)
            assert preemption.requested
            assert received == []
            os.kill(os.getpid(), number)
            assert received == ["former"]
        os.kill(os.getpid(), number)
        assert received == ["former", "former"]
    finally:
        signal.signal(number, former)


def test_outside_the_main_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with Preemption() as preemption:
            seen.append((preemption.requested, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
