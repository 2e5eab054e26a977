"""What an error in reading a checkpoint means: it is damaged, or out of reach at present."""

from pathlib import Path

from jaxcnn.errors import UserError
from jaxcnn.train.seal import BrokenSeal

# What a storage that is out of reach says. A damaged checkpoint lacks files, or has others in them.
_OUT_OF_REACH = ("PERMISSION_DENIED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE")
_OF_DAMAGE = FileNotFoundError, NotADirectoryError, IsADirectoryError


class DamagedError(UserError):
    """No checkpoint of a run can be read."""


def what_is_wrong(error: Exception) -> str:
    """Why a checkpoint is damaged, for a message."""
    return str(error) if isinstance(error, BrokenSeal) else type(error).__name__


def raise_if_out_of_reach(checkpoint: Path, error: Exception) -> None:
    """Raises UserError if a checkpoint may be intact but cannot be read at present."""
    said = str(error)
    if (isinstance(error, OSError) and not isinstance(error, _OF_DAMAGE)) or isinstance(
        error, MemoryError
    ):
        reason = getattr(error, "strerror", None) or said or type(error).__name__
    elif any(word in said for word in _OUT_OF_REACH):
        reason = next(word for word in _OUT_OF_REACH if word in said).replace("_", " ").lower()
    else:
        return
    raise UserError(f"{checkpoint} cannot be read: {reason}; nothing was changed") from error
