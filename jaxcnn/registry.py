"""Name → constructor tables, whose settings are read off the constructors' signatures."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from jaxcnn.errors import UserError, suggestion


class Registry:
    """A table of constructors that a config chooses from by name.

    The settings that an entry takes are the keyword parameters of its constructor, with their
    defaults; nothing is declared twice.
    """

    def __init__(self, kind: str, not_settings: tuple[str, ...] = ()):
        """`kind` is what an entry is called in messages; `not_settings` are parameters that the
        program passes and no config sets."""
        self.kind = kind
        self._not_settings = not_settings
        self._constructors: dict[str, Callable] = {}
        self._about: dict[str, str] = {}

    def register(self, name: str, constructor: Callable, about: str = "") -> None:
        """Adds an entry; `about` says what it is and whence, in place of its docstring's first line.

        Raises:
          ValueError: the name is taken.
        """
        if name in self._constructors:
            raise ValueError(f"{self.kind} '{name}' is registered twice")
        self._constructors[name] = constructor
        self._about[name] = about

    def names(self) -> list[str]:
        return sorted(self._constructors)

    def __getitem__(self, name: str) -> Callable:
        """The constructor of that name.

        Raises:
          UserError: there is none; the message suggests the nearest name.
        """
        if name not in self._constructors:
            raise UserError(
                f"{self.kind} '{name}' does not exist; {suggestion(name, self.names())}"
            )
        return self._constructors[name]

    def settings(self, name: str) -> dict[str, Any]:
        """The settings that the entry takes, each with its default."""
        return {
            parameter.name: parameter.default
            for parameter in inspect.signature(self[name]).parameters.values()
            if parameter.default is not inspect.Parameter.empty
            and parameter.name not in self._not_settings
        }

    def about(self, name: str) -> str:
        """What the entry is, in a line or two: its definition, and where it is from."""
        constructor = self[name]
        documented = getattr(constructor, "func", constructor)
        first = inspect.getdoc(documented).split("\n\n")[0]
        return self._about[name] or " ".join(first.split()).rstrip(".")

    def constructor(self, name: str, settings: Iterable[str]) -> Callable:
        """The constructor of that name, which takes these settings.

        Raises:
          UserError: the entry or one of the settings does not exist.
        """
        constructor = self[name]
        for setting in settings:
            if setting not in inspect.signature(constructor).parameters:
                raise UserError(
                    f"{self.kind} '{name}' has no setting '{setting}'; "
                    f"{suggestion(setting, self.settings(name))}"
                )
        return constructor

    def create(self, name: str, /, *args, **settings):
        """Calls the constructor; raises as `constructor` does."""
        return self.constructor(name, settings)(*args, **settings)
