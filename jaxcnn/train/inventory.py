"""The checkpoints in a workdir: which there are, and whether they are whole."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jaxcnn.errors import UserError
from jaxcnn.train.seal import BrokenSeal, check_format, check_seal
from jaxcnn.train.workdir import Workdir

_SET_ASIDE = ".damaged"


@dataclass(frozen=True)
class Stored:
    """A checkpoint on disk.

    Attributes:
      kind: 'latest', 'best' or 'snapshot'.
      set_aside: whether a resumed run has found it damaged.
      size: in bytes.
      saved: when.
    """

    path: Path
    kind: str
    step: int
    set_aside: bool
    size: int
    saved: datetime

    @property
    def sealed(self) -> bool:
        """Whether its bytes can be verified; version 0.1.0 wrote no seal."""
        return (self.path / "seal.json").exists()

    def problem(self) -> str | None:
        """What is wrong with its files, read whole; None if nothing is."""
        try:
            check_seal(self.path)
            notes = json.loads((self.path / "notes" / "metadata").read_bytes())
            check_format(self.path, notes.get("format", 1))
        except (BrokenSeal, UserError) as error:
            return str(error)
        except (OSError, ValueError, AttributeError) as error:
            return f"its notes cannot be read ({type(error).__name__})"
        return None


def stored_in(workdir: str | Path) -> list[Stored]:
    """The checkpoints of a run, the latest ones first, each kind by step.

    Raises:
      UserError: there is no run.
    """
    directory = Workdir(workdir)
    directory.read_config()
    kinds = {
        "latest": directory.latest,
        "best": directory.best,
        "snapshot": directory.snapshots,
    }
    return [one for kind, folder in kinds.items() for one in _by_step(_found(kind, folder))]


def _by_step(stored: Iterator[Stored]) -> list[Stored]:
    return sorted(stored, key=lambda one: (one.step, one.set_aside))


def _found(kind: str, folder: Path) -> Iterator[Stored]:
    for path in folder.glob("*"):
        name = path.name.removesuffix(_SET_ASIDE)
        if name.isdigit() and path.is_dir():
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            saved = datetime.fromtimestamp(path.stat().st_mtime)
            yield Stored(path, kind, int(name), name != path.name, size, saved)
