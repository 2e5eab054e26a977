"""A user's mistake, told in one line."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the user can put right.

    The message is one line that names the setting or file, its value, and what would be valid. The
    command line prints it without a traceback and exits with 1.
    """


def suggestion(name: str, valid: Iterable[str]) -> str:
    """The end of an error line: the nearest valid name if there is one, and all the valid ones."""
    valid = sorted(valid)
    near = difflib.get_close_matches(name, valid, n=1)
    did_you_mean = f"did you mean '{near[0]}'? " if near else ""
    return f"{did_you_mean}valid: {', '.join(valid) or 'none'}"


def check_choice(setting: str, value: str, valid: Iterable[str]) -> None:
    """Raises UserError where a setting that chooses by name names nothing."""
    if value not in valid:
        raise UserError(f"{setting} '{value}' does not exist; {suggestion(value, valid)}")
