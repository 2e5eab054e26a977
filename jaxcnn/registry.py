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
        """Adds an entry; without a constructor, returns a decorator that adds what it decorates.

        A definition that is run again, as after a reload or in a notebook, replaces its entry.

        Args:
          about: what the entry is and its source, in place of its docstring's first paragraph.
          limits: by setting, for constructors whose signatures have none.

        Raises:
          ValueError: the name is taken by something else.
        """
        if constructor is None:
            return lambda constructor: self.register(name, constructor, about, limits)
        if name in self._constructors and not _same(self._constructors[name], constructor):
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
        """The limit of each setting that has one: `Annotated[float, POSITIVE]` in the signature.

        Those that were registered with the entry take precedence.
        """
        annotated = {
            parameter.name: getattr(parameter.annotation, "__metadata__", ())
            for parameter in _evaluated_signature(self[name]).parameters.values()
        }
        found = {
            setting: part
            for setting, metadata in annotated.items()
            for part in metadata
            if isinstance(part, Limit)
        }
        return found | dict(self._limits[name])

    def check(self, name: str, settings: Mapping[str, Any], prefix: str = "") -> None:
        """Refuses a setting outside its limit.

        Args:
          prefix: what the message puts before the setting's name.

        Raises:
          UserError: a value is not allowed; names the first such setting, its value, and what is.
        """
        for setting, limit in self.limits(name).items():
            if setting in settings:
                check(f"{prefix}{setting}", settings[setting], limit)

    def about(self, name: str) -> str:
        """What the entry is, in a line or two: its definition and its source; '' if undocumented."""
        constructor = self[name]
        documented = getattr(constructor, "func", constructor)
        text = inspect.cleandoc(documented.__doc__ or "")
        if text.startswith(f"{getattr(documented, '__name__', '')}("):
            text = ""  # what a dataclass without a docstring gets: its signature
        return self._about[name] or " ".join(text.split("\n\n")[0].split()).rstrip(".")

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
          UserError: the entry or a setting does not exist, or a setting is outside its limit.
        """
        constructor = self.constructor(name, settings)
        self.check(name, settings, f"{self.kind} '{name}': ")
        return constructor(*args, **settings)


def _evaluated_signature(constructor: Callable) -> inspect.Signature:
    """The signature; annotations that are strings, as in postponed evaluation, are evaluated."""
    try:
        return inspect.signature(constructor, eval_str=True)
    except (NameError, AttributeError, SyntaxError):  # an annotation for type checkers only
        return inspect.signature(constructor)


def _same(old: Callable, new: Callable) -> bool:
    """Whether two constructors are one definition, perhaps of a module that is imported again."""
    return old is new or (_origin(old) == _origin(new) and "<lambda>" not in _origin(new)[1])


def _origin(constructor: Callable) -> tuple:
    """The module and the name of a definition, and the arguments that a partial fixes."""
    defined = getattr(constructor, "func", constructor)
    name = getattr(defined, "__qualname__", repr(defined))
    fixed = getattr(constructor, "args", ()), getattr(constructor, "keywords", {})
    return defined.__module__, name, *fixed
