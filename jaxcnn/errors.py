"""Errors that the user can fix, reported in one line."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix.

    The message is one line that names the setting or file, its value and the valid values. The
    command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 1


def suggestion(name: str, valid: Iterable[str]) -> str:
    """The end of an error message: the closest valid name, if any, and the list of valid names."""
    valid = sorted(valid)
    near = closest(name, valid)
    did_you_mean = f"did you mean '{near}'? " if near else ""
    return f"{did_you_mean}valid: {', '.join(valid) or 'none'}"


def closest(name: str, valid: Iterable[str]) -> str | None:
    """The name that a user may have meant; None if none is near.

    It differs in case and punctuation alone, or begins with or contains this one, or is similar; of
    several it is the shortest.
    """
    plain = _letters(name)
    by_letters = {_letters(other): other for other in sorted(valid, key=len, reverse=True)}
    if plain in by_letters:
        return by_letters[plain]
    if len(plain) >= 3:  # fewer letters are in too many names
        longer = [other for other in by_letters if plain in other]
        for other in sorted(longer, key=lambda other: (not other.startswith(plain), len(other))):
            return by_letters[other]
    similar = difflib.get_close_matches(plain, by_letters, n=1)
    return by_letters[similar[0]] if similar else None


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def check_choice(setting: str, value: str, valid: Iterable[str]) -> None:
    """Raises UserError if a setting's value is not one of the valid names."""
    if value not in valid:
        raise UserError(f"{setting} '{value}' does not exist; {suggestion(value, valid)}")
