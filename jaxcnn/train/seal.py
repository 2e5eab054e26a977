"""Seals of checkpoints: a digest of every file, written with them and checked before they are read.

A checkpoint is sealed, and all of it is on disk, before it gets its name. One bit that changes
afterwards is found, wherever it is.
"""

import asyncio
import hashlib
import json
from pathlib import Path

from orbax.checkpoint._src.path.atomicity import AtomicRenameTemporaryPath

from jaxcnn.errors import UserError
from jaxcnn.files import sync, write_text

# Of checkpoints. Version 0.1.0 wrote format 1, without a seal.
FORMAT = 2
_SEAL = "seal.json"


class BrokenSeal(Exception):
    """A file of a checkpoint is not as it was written."""


class SealedPath(AtomicRenameTemporaryPath):
    """Orbax's way to write a checkpoint under a temporary name, with a seal before the renaming."""

    async def finalize(self) -> None:
        """Seals the checkpoint, syncs it and gives it its name; only the primary process calls this."""
        if not self.get_final().name.isdigit():  # a part of a checkpoint, in its folder
            return await super().finalize()
        if self._checkpoint_metadata_store is not None:
            await asyncio.to_thread(self._checkpoint_metadata_store.wait_until_finished)
            self._checkpoint_metadata_store = None  # it would write the time into a sealed file
        await asyncio.to_thread(seal, Path(self.get()))
        await super().finalize()
        return await asyncio.to_thread(sync, Path(self.get_final()).parent)


def seal(directory: Path) -> None:
    """Writes the digests of all files in a directory into it, and syncs all of it to disk."""
    entries = sorted(path for path in directory.rglob("*") if path.name != _SEAL)
    files = {str(path.relative_to(directory)): _digest(path) for path in entries if path.is_file()}
    content = {"format": FORMAT, "files": files}
    for path in entries:
        sync(path)
    write_text(directory / _SEAL, json.dumps({**content, "seal": _digest_of(content)}, indent=1))


def check_seal(directory: Path, part: str | None = None) -> None:
    """Compares the files of a checkpoint, or of one part such as 'state', with their digests.

    A checkpoint without a seal passes: whether it should have one, its notes say (`check_format`).

    Raises:
      BrokenSeal: a file, or the seal, has changed or is missing.
      UserError: a later version wrote the checkpoint.
    """
    path = directory / _SEAL
    if not path.exists():
        return
    try:
        content = json.loads(path.read_bytes())
        stated = content.pop("seal")
        whole = stated == _digest_of(content)
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise BrokenSeal(f"{_SEAL} has changed")
    check_format(directory, content["format"])
    for name, digest in content["files"].items():
        if part is not None and name.split("/")[0] != part:
            continue
        file = directory / name
        if not file.is_file():
            raise BrokenSeal(f"{name} is missing")
        if _digest(file) != digest:
            raise BrokenSeal(f"{name} has changed")


def check_format(directory: Path, written: int) -> None:
    """Refuses a checkpoint of a later format, and one that has lost its seal.

    Raises:
      UserError, BrokenSeal: as said.
    """
    if written > FORMAT:
        raise UserError(
            f"{directory} has format {written}, of a later version of jaxcnn; this one reads formats "
            f"up to {FORMAT}"
        )
    if written > 1 and not (directory / _SEAL).exists():
        raise BrokenSeal(f"{_SEAL} is missing")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _digest_of(content: dict) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
