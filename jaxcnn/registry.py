"""Name → constructor tables, whose settings are read off the constructors' signatures."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jaxcnn.errors import UserError, suggestion
from jaxcnn.limits import Limit, check


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
        self._limits: dict[str, Mapping[str, Limit]] = {}

    def register(
        self,
        name: str,
        constructor: Callable | None = None,
        about: str = "",
        limits: Mapping[str, Limit] | None = None,
    ) -> Callable:
        """Adds an entry; without a constructor, a decorator that adds what it decorates.

        Args:
          about: what the entry is and whence, in place of its docstring's first line.
          limits: of settings, for constructors whose signatures do not say them.

        Raises:
          ValueError: the name is taken by something else.
        """
        if constructor is None:
            return lambda constructor: self.register(name, constructor, about, limits)
        if name in self._constructors and _origin(self._constructors[name]) != _origin(constructor):
            raise ValueError(f"{self.kind} '{name}' is registered twice")
        self._constructors[name] = constructor
        self._about[name] = about
        self._limits[name] = limits or {}
        return constructor

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

    def limits(self, name: str) -> dict[str, Limit]:
        """What the entry's settings may be: `Annotated[float, POSITIVE]` in the signature says it."""
        annotated = {
            parameter.name: getattr(parameter.annotation, "__metadata__", ())
            for parameter in inspect.signature(self[name]).parameters.values()
        }
        found = {
            setting: part
            for setting, metadata in annotated.items()
            for part in metadata
            if isinstance(part, Limit)
        }
        return found | dict(self._limits[name])

    def check(self, name: str, settings: Mapping[str, Any], prefix: str = "") -> None:
        """Refuses settings outside of their limits.

        Args:
          prefix: what a message puts before a setting's name.

        Raises:
          UserError: the first such setting, its value, and what would be valid.
        """
        for setting, limit in self.limits(name).items():
            if setting in settings:
                check(f"{prefix}{setting}", settings[setting], limit)

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
        """Calls the constructor.

        Raises:
          UserError: the entry or a setting does not exist, or a setting is outside of its limits.
        """
        constructor = self.constructor(name, settings)
        self.check(name, settings, f"{self.kind} '{name}': ")
        return constructor(*args, **settings)


def _origin(constructor: Callable) -> tuple[str, str]:
    """Where a constructor is defined: the same, of a module that is imported anew."""
    defined = getattr(constructor, "func", constructor)
    return defined.__module__, defined.__qualname__
