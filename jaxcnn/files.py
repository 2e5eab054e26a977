"""Files and directories that are there whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name first; a file of its name is replaced."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """The same of text, in UTF-8."""
    write_bytes(path, text.encode())


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yields a temporary directory beside `path`, which takes its name where the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
        partial = Path(temporary, path.name)
        partial.mkdir()
        yield partial
        os.replace(partial, path)
