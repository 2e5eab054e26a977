"""Sections of a resolved config that remember which choice their settings were resolved for.

A resolved section has all settings of its choice. If the choice changes afterwards, those settings
belong to the former choice, and only settings changed since apply to the new one.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.config.values import plain


class ResolvedConfig(ConfigDict):
    """A resolved config or one of its sections, which can be changed like any other."""

    _resolved_for: str | None = None  # the choice; None if there is none or it is not resolved yet
    _set_since: frozenset[str] = frozenset()
    moved_decay: float = 0.0  # of an optimizer: the L2 penalty that became its weight decay

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(value, ConfigDict | Mapping):
            value = plain(value)  # NumPy's numbers, paths
        if isinstance(value, ConfigDict) and not isinstance(value, ResolvedConfig):
            value = ResolvedConfig(value)  # a new section must also be a ResolvedConfig
        super().__setitem__(key, value)
        if self._resolved_for is not None:
            self._remember(self._resolved_for, self._set_since | {key}, self.moved_decay)

    def __eq__(self, other: Any) -> bool:
        """Compares as ConfigDicts do; what each remembers is ignored."""
        return (
            ConfigDict.__eq__(other, self) if type(other) is ConfigDict else super().__eq__(other)
        )

    __hash__ = None

    def copy_and_resolve_references(self, visit_map=None) -> "ResolvedConfig":
        copy = super().copy_and_resolve_references(visit_map)
        copy._remember(self._resolved_for, self._set_since, self.moved_decay)
        return copy

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self._remember(
            state.get("_resolved_for"),
            state.get("_set_since", frozenset()),
            state.get("moved_decay", 0.0),
        )

    def _remember(
        self, choice: str | None, set_since: frozenset[str] = frozenset(), moved_decay: float = 0.0
    ) -> None:
        object.__setattr__(self, "_resolved_for", choice)
        object.__setattr__(self, "_set_since", set_since)
        object.__setattr__(self, "moved_decay", moved_decay)


class ResolvedEntry(dict):
    """The same for a list entry, such as an augmentation."""

    def __init__(self, entry: Mapping[str, Any], resolved_for: str):
        super().__init__(entry)
        self._resolved_for, self._set_since = resolved_for, frozenset()

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._set_since |= {key}

    def update(self, *others, **settings) -> None:
        for key, value in dict(*others, **settings).items():
            self[key] = value

    def __ior__(self, other) -> "ResolvedEntry":
        self.update(other)
        return self

    def __or__(self, other) -> "ResolvedEntry":
        merged = self.copy()
        merged.update(other)
        return merged

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def copy(self) -> "ResolvedEntry":
        return _restored_entry(dict(self), self._resolved_for, self._set_since)

    def __reduce__(self):
        return _restored_entry, (dict(self), self._resolved_for, self._set_since)


def _restored_entry(entry: dict, resolved_for: str, set_since: frozenset[str]) -> ResolvedEntry:
    restored = ResolvedEntry(entry, resolved_for)
    restored._set_since = set_since
    return restored


def resolved_section(
    values: Mapping[str, Any], choice: str, moved_decay: float = 0.0
) -> ResolvedConfig:
    """A section with the settings of `choice`."""
    section = ResolvedConfig(values)
    section._remember(choice, moved_decay=moved_decay)
    return section


def former_choice(section: Any, key: str) -> str | None:
    """The choice a section was resolved for, or its current choice if it is not resolved yet."""
    if not isinstance(section, Mapping | ConfigDict):
        return None
    return getattr(section, "_resolved_for", None) or section.get(key)


def meant_settings(part: Mapping, choice: str, common: Mapping) -> dict[str, Any]:
    """The settings of a section or entry, without those resolved for another choice.

    Args:
      choice: the current choice.
      common: the settings that every choice has.
    """
    values = part.to_dict() if isinstance(part, ConfigDict) else dict(part)
    former = getattr(part, "_resolved_for", None)
    if former is None or former == choice:
        return values
    meant = {*common, *part._set_since}
    return {key: value for key, value in values.items() if key in meant}
