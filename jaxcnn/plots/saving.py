"""Saves figures to files."""

from pathlib import Path
from typing import TYPE_CHECKING

from jaxcnn.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 110


def save(figure: "Figure", path: str | Path) -> None:
    """Writes a figure in the format of the path's extension, and creates missing directories.

    Raises:
      UserError: the file cannot be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DOTS_PER_INCH)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
