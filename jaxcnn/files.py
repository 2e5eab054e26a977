"""Paths that a user gives, and atomic writes: a file or directory appears complete or not at all.

That holds for a power cut too: content is on disk before it gets its name.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxcnn.errors import UserError
from jaxcnn.limits import PATH, check


def usable_path(setting: str, path: str | Path) -> Path:
    """The path of the file system that a user means; `~` is the home directory.

    Raises:
      UserError: it is empty, a URL, too long, or the home of a user that does not exist.
    """
    text = os.fspath(path)
    if not text:
        raise UserError(f"{setting}='' is empty; it takes a path")
    check(setting, text, PATH)
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        user = expanded.split("/")[0]
        raise UserError(f"{setting}={text}: {user} is no home directory; ./{text} is a folder here")
    try:
        os.stat(expanded)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise UserError(f"{setting}={text[:60]}…: {error.strerror}") from error
    return Path(expanded)


@contextmanager
def asked_for(setting: str, path: Path) -> Iterator[Path]:
    """Like `replacing`, for a file that a user has named; creates missing directories.

    Raises:
      UserError: it cannot be written.
      OSError: the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            yield partial
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{setting}={path} cannot be written: {error.strerror}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which replaces `path` if the block succeeds.

    The temporary name contains the process ID, so that two processes can write the same file.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        for entry in [*partial.rglob("*"), partial]:
            sync(entry)
        os.replace(partial, path)
        sync(path.parent)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically, replacing any file of the same name."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8, like `write_bytes`."""
    write_bytes(path, text.encode())


def sync(path: Path) -> None:
    """Blocks until a file's content, or the names in a directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# What a storage says, and no bug of a program.
_OF_STORAGE = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM,
    errno.ENOTCONN, errno.ETIMEDOUT, errno.EFBIG,
)  # fmt: skip
_FULL = errno.ENOSPC, errno.EDQUOT


def storage_problem(error: BaseException) -> tuple[str, bool] | None:
    """Why a file could not be written, and whether the disk is full; None for another error.

    Libraries report it by exceptions of their own: TensorStore by a text with os_error_code='28'.
    """
    number = error.errno if isinstance(error, OSError) else None
    if said := re.search(r"os_error_code='(\d+)'", str(error)):
        number = int(said[1])
    elif number is None:
        number = next((n for n in _FULL if os.strerror(n) in str(error)), None)
    return (os.strerror(number), number in _FULL) if number in _OF_STORAGE else None
