"""The number of pixels that threads hold at the same time."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.sources import decoding
from jaxcnn.data.sources.decoding import Decoder, read_with_header
from jaxcnn.data.sources.pixels import InFlight

pytestmark = pytest.mark.fast


class Counted:
    """Counts the threads that are in a block at the same time."""

    def __init__(self):
        self.now, self.most, self.lock = 0, 0, threading.Lock()

    def __enter__(self):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.01)

    def __exit__(self, *_):
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize(("pixels", "most"), [(9400**2, 2), (2 * 10**8, 1), (10**9, 1), (1, 8)])
def test_threads_hold_no_more_than_the_limit(pixels, most):
    in_flight, counted = InFlight(2 * 10**8), Counted()

    def hold(_):
        with in_flight.holding(pixels), counted:
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, range(16)))
    assert 1 <= counted.most <= most


def test_room_is_given_back_after_an_error():
    in_flight = InFlight(10)
    for _ in range(3):
        with pytest.raises(KeyError), in_flight.holding(10):
            raise KeyError


def test_files_are_decoded_within_the_limit(tmp_path, monkeypatch):
    counted = Counted()
    monkeypatch.setattr(decoding, "IN_FLIGHT", InFlight(2 * 20 * 20))
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "a.png")

    def decode(self, *_, **__):
        with counted:
            return np.zeros((4, 4, 3), np.uint8).view(Tensor)

    monkeypatch.setattr(Decoder, "__call__", decode)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: read_with_header(Decoder(4, 3), tmp_path / "a.png"), range(16)))
    assert 1 <= counted.most <= 2


class Tensor(np.ndarray):
    def numpy(self):
        return np.asarray(self)
