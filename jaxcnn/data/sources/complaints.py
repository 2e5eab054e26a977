"""What decoders complain of while they decode, held back so that it can be said with a file's name."""

import contextlib
import os
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator
from typing import IO

_ONE_AT_A_TIME = threading.RLock()  # a process has one stderr, and one list of warning filters


class Complaints:
    """Lines that C libraries wrote to the process's stderr, and Python's warnings.

    Attributes:
      terminal: the stderr that was there before, for a progress bar.
    """

    def __init__(self, written: IO[bytes], warned: list, terminal: IO[str]):
        self._written, self._warned, self.terminal = written, warned, terminal
        self._start, self._taken = self.mark(), set()

    def mark(self) -> tuple[int, int]:
        """Grows with every complaint, of whatever thread."""
        return os.fstat(self._written.fileno()).st_size, len(self._warned)

    def listen(self) -> None:
        """From here on `take` takes."""
        self._start = self.mark()

    def take(self) -> tuple[list[str], list[str]]:
        """The lines written and the warnings since `listen`, each once."""
        taken = self._between(self._start, self.mark())
        self._taken |= {*taken[0], *taken[1]}
        return taken

    def not_taken(self) -> list[str]:
        """Lines that were taken at no time."""
        written, warned = self._between((0, 0), self.mark())
        return [line for line in (*written, *warned) if line not in self._taken]

    def _between(self, start: tuple, end: tuple) -> tuple[list[str], list[str]]:
        length = end[0] - start[0]
        written = os.pread(self._written.fileno(), length, start[0]).decode(errors="replace")
        warned = [str(warning.message) for warning in self._warned[start[1] : end[1]]]
        return _lines(written.splitlines()), _lines(warned)


def _stderr() -> int:
    """A copy of the process's stderr, which a daemon may have closed."""
    try:
        return os.dup(2)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def _lines(texts: Iterable[str]) -> list[str]:
    lines = (" ".join(text.split()) for text in texts)
    return list(dict.fromkeys(filter(None, lines)))


@contextlib.contextmanager
def held_back() -> Iterator[Complaints]:
    """Holds complaints back while it is open, and writes those that nobody took to stderr after.

    libjpeg prints its own with fprintf, so that only the file descriptor can be led elsewhere.
    """
    with (
        _ONE_AT_A_TIME,
        tempfile.TemporaryFile() as written,
        os.fdopen(_stderr(), "w") as terminal,
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("ignore")
        for category in (UserWarning, RuntimeWarning):  # of which Pillow's are
            warnings.simplefilter("always", category)
        complaints = Complaints(written, warned, terminal)
        os.dup2(written.fileno(), 2)
        try:
            yield complaints
        finally:
            os.dup2(terminal.fileno(), 2)
            for line in complaints.not_taken():
                print(line, file=terminal)
