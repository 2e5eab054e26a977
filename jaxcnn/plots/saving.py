"""Figures as files."""

from pathlib import Path
from typing import TYPE_CHECKING

from jaxcnn.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 110


def save(figure: "Figure", path: str | Path) -> None:
    """Writes a figure, as a PNG where the path ends in .png.

    Raises:
      UserError: the file cannot be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DOTS_PER_INCH)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
