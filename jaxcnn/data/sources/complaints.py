"""Captures what image decoders print to stderr, so that it can be logged with the file's name."""

import contextlib
import ctypes
import os
import re
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import IO, TypeVar

from PIL import Image, _imaging

from jaxcnn.tensorflow import tensorflow

T = TypeVar("T")

_TENSORFLOW_STARTS = "All log messages before absl::InitializeLog() is called"
_ONE_AT_A_TIME = threading.RLock()  # a process has one stderr and one list of warning filters
# Time, thread and source line in TensorFlow's log.
_LOG_PREFIX = re.compile(r"^[IWEF]\d{4} \S+\s+\d+ \S+\] ")


def _libtiff_handler_setter() -> Callable[[int | None], int | None]:
    """libtiff's TIFFSetErrorHandler, which returns the previous handler."""
    try:
        # A lookup in Pillow's extension module also searches the libraries it is linked with.
        setter = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError):  # a Pillow without libtiff
        return lambda handler: None
    setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
    return setter


# Pillow turns off libtiff's warnings but not its errors, which go to stderr at every decode. They are
# turned off here, and printed only inside `captured`.
_set_libtiff_handler = _libtiff_handler_setter()
_PRINTING_HANDLER = _set_libtiff_handler(None)


class Complaints:
    """Lines written to the process's stderr by C libraries, and Python warnings.

    Attributes:
      terminal: the original stderr, for a progress bar.
    """

    def __init__(self, written: IO[bytes], warned: list, terminal: IO[str]):
        self._written, self._warned, self.terminal = written, warned, terminal
        self._start, self._taken = self.mark(), set()

    def mark(self) -> tuple[int, int]:
        """The size of all complaints so far, from any thread: (bytes written, warnings)."""
        return os.fstat(self._written.fileno()).st_size, len(self._warned)

    def of(self, decode: Callable[[bool], T]) -> tuple[T, list[str]]:
        """Decodes an image and returns the result with the complaints, each line once.

        No other thread may decode at the same time.

        Args:
          decode: takes `by_pillow`. It is called with False and, if a C library writes something,
            again with True, because Pillow's decoders print nothing in later epochs.
        """
        tensorflow("decoding images").constant(0)  # prints its start-up messages before the image's
        self._start = self.mark()
        try:
            decoded = decode(False)
            written, warned = self._take()
            if written:
                decoded = decode(True)
        finally:
            self._take()
        return decoded, [*written, *warned]

    def not_taken(self) -> list[str]:
        """The lines that belong to no image."""
        lines = (line for part in self._between((0, 0), self.mark()) for line in part)
        return [line for line in lines if _message(line) not in self._taken]

    def _take(self) -> tuple[list[str], list[str]]:
        """The messages written and the warnings since `of` started."""
        written, warned = (
            list(dict.fromkeys(map(_message, lines)))
            for lines in self._between(self._start, self.mark())
        )
        self._taken |= {*written, *warned}
        return written, warned

    def _between(self, start: tuple, end: tuple) -> tuple[list[str], list[str]]:
        length = end[0] - start[0]
        written = os.pread(self._written.fileno(), length, start[0]).decode(errors="replace")
        warned = [str(warning.message) for warning in self._warned[start[1] : end[1]]]
        return _lines(written.splitlines()), _lines(warned)


def _lines(texts: Iterable[str]) -> list[str]:
    """The texts, each on one line; empty ones and repetitions are dropped."""
    lines = (" ".join(text.split()) for text in texts)
    return list(dict.fromkeys(line for line in lines if line and _TENSORFLOW_STARTS not in line))


def _message(line: str) -> str:
    return _LOG_PREFIX.sub("", line)


def _stderr() -> int:
    """A copy of the process's stderr, or /dev/null if a daemon has closed it."""
    try:
        return os.dup(2)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


@contextlib.contextmanager
def captured() -> Iterator[Complaints]:
    """Captures complaints inside the block; afterwards prints those that belong to no image.

    Redirects the file descriptor, because libjpeg prints with fprintf.
    """
    with (
        _ONE_AT_A_TIME,
        tempfile.TemporaryFile() as written,
        os.fdopen(_stderr(), "w") as terminal,
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("ignore")
        for category in (UserWarning, RuntimeWarning):  # Pillow's warnings are of these
            warnings.simplefilter("always", category)
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the header is checked
        complaints = Complaints(written, warned, terminal)
        previous = _set_libtiff_handler(_PRINTING_HANDLER)
        os.dup2(written.fileno(), 2)
        try:
            yield complaints
        finally:
            os.dup2(terminal.fileno(), 2)
            _set_libtiff_handler(previous)
            for line in complaints.not_taken():
                print(line, file=terminal)
