"""How many pixels an image may have, and how many are decoded at the same time."""

import contextlib
import threading
from collections.abc import Iterator

from jaxcnn.limits import Limit

# The largest of cameras; 0.3 GB in colour, and 1.2 GB as the floats of which it is scaled.
MOST_PIXELS = 100_000_000
_PILLOW_OPENS = 178_956_970  # twice PIL.Image.MAX_IMAGE_PIXELS
PIXEL_LIMIT = Limit(
    lambda value: 1 <= value <= _PILLOW_OPENS, f"at least 1 and at most {_PILLOW_OPENS}"
)
PIXELS_AT_ONCE = 2 * MOST_PIXELS  # 3 GB, by any number of threads


class InFlight:
    """Keeps the pixels that threads hold at the same time below a limit.

    An image that has more waits until it is alone.
    """

    def __init__(self, most: int):
        self._most, self._held, self._changed = most, 0, threading.Condition()

    @contextlib.contextmanager
    def holding(self, pixels: int) -> Iterator[None]:
        """Waits until there is room for so many pixels, which are held inside the block."""
        pixels = min(pixels, self._most)
        with self._changed:
            self._changed.wait_for(lambda: self._held + pixels <= self._most)
            self._held += pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()


IN_FLIGHT = InFlight(PIXELS_AT_ONCE)
