"""Where the log lines of a run go: to the terminal, and to a file in the workdir."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path

from jaxcnn.files import storage_problem

_LINES_BEFORE_THE_FILE = 10_000


@contextmanager
def logged() -> Iterator[Callable[[Path], None]]:
    """A context in which the package's log lines are shown, and go to a file once there is one.

    Yields a function to call with the file's path once its directory exists: it writes the lines so
    far, and from then on each line as it comes. Unless the program has set a level for the logger
    `jaxcnn`, the lines also go to stderr; Python alone would show only the warnings.
    """
    logger = logging.getLogger("jaxcnn")
    early = MemoryHandler(_LINES_BEFORE_THE_FILE, flushLevel=logging.CRITICAL + 1)
    handlers: list[logging.Handler] = [early]
    level, propagates = logger.level, logger.propagate
    if level == logging.NOTSET:
        logger.setLevel(logging.INFO)
        logger.propagate = False  # else twice: absl gives the root logger a handler
        handlers.append(logging.StreamHandler())

    def write_to(path: Path) -> None:
        file = _LogFile(path, encoding="utf-8", errors="backslashreplace")
        file.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
        early.setTarget(file)
        early.flush()
        logger.addHandler(file)
        handlers.append(file)
        logger.removeHandler(early)
        early.setTarget(None)

    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield write_to
    finally:
        logger.setLevel(level)
        logger.propagate = propagates
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


class _LogFile(logging.FileHandler):
    """A log file that is silent when the storage refuses a line: the run itself says so."""

    def handleError(self, record: logging.LogRecord) -> None:
        if storage_problem(sys.exc_info()[1]) is None:
            super().handleError(record)
