"""How much a file may hold, asked before it is read."""

import psutil

from jaxcnn.errors import UserError

COPIES = 3  # of arrays in memory: as read, sorted and split, and in tf.data
MOST_INFLATED = 1032  # bytes that a byte of a deflate stream can stand for (zlib's manual)


def check_memory(what: str, size: int) -> None:
    """Raises UserError if `size` bytes are not free; `what` needs them."""
    free = psutil.virtual_memory().available
    if size > free:
        raise UserError(
            f"{what} needs {size / 2**30:.1f} GiB of memory, but {free / 2**30:.1f} GiB are free"
        )
