import itertools
import threading

import pytest

from jaxcnn.data.feeding.prefetch import prefetch


def test_order_and_end():
    assert list(prefetch(range(10), lambda n: n * n)) == [n * n for n in range(10)]


def test_it_runs_ahead_by_its_size_and_no_further():
    drawn = []

    def numbers():
        for n in itertools.count():
            drawn.append(n)
            yield n

    ahead = prefetch(numbers(), lambda n: n, size=2)
    assert next(ahead) == 0
    for _ in range(50):
        threading.Event().wait(0.01)
    assert len(drawn) <= 1 + 2 + 1  # handed out, in the queue, in the thread's hand
    ahead.close()


def test_an_exception_comes_where_its_batch_would_have():
    def numbers():
        yield 1
        raise RuntimeError("broken")

    ahead = prefetch(numbers(), lambda n: n)
    assert next(ahead) == 1
    with pytest.raises(RuntimeError, match="broken"):
        next(ahead)


def test_closing_ends_the_thread():
    ahead = prefetch(itertools.count(), lambda n: n)
    next(ahead)
    ahead.close()
    assert "prefetch" not in {thread.name for thread in threading.enumerate()}
