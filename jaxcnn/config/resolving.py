"""Resolves a config and overrides into a complete, checked config.

A config is an `ml_collections.ConfigDict`. Some of its sections choose an entry of a registry (a
model, an optimizer, …) and contain that entry's settings. Choosing another entry drops the former
one's settings, so that they never carry over.
"""

import importlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.config.defaults import CHOICE_KEYS, LIMITS, LISTS, default_config
from jaxcnn.config.remembering import (
    ResolvedConfig,
    ResolvedEntry,
    former_choice,
    meant_settings,
    resolved_section,
)
from jaxcnn.config.values import parsed, shown, typed
from jaxcnn.errors import UserError, suggestion
from jaxcnn.limits import HUB_ADDRESS, PATH, PATH_OR_HUB, Limit, check
from jaxcnn.registry import Registry

log = logging.getLogger(__name__)


def resolve(
    config: ConfigDict, overrides: Mapping[str, str], registries: Mapping[str, Registry]
) -> ConfigDict:
    """The complete config: each section filled with the defaults of its choice, and checked.

    Args:
      config: what a config file returned, or a resolved config, changed or not; missing keys get
        their defaults.
      overrides: dotted key → string, as on the command line: {"optimizer.learning_rate": "0.1"}.
      registries: the registries of the sections in `CHOICE_KEYS` and of the lists in `LISTS`.

    Raises:
      UserError: a key is unknown, a value has the wrong type or is outside its limits, a choice does
        not exist, or a module in `imports` cannot be imported.
    """
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"config={shown(config)} must be a config, from load_config(…) or default_config()"
        )
    if wrong := [key for key in overrides if not isinstance(key, str)]:
        raise UserError(f"overrides: {shown(wrong[0])} must be a dotted key, as 'optimizer.name'")
    defaults = default_config().to_dict()
    _refuse_unknown_keys(config.to_dict(), defaults, "config")
    _import_modules(config, overrides, defaults)
    resolved = {}
    for name, section_defaults in defaults.items():
        given = config.get(name, section_defaults)
        if name in CHOICE_KEYS:
            resolved[name] = _resolved_section(name, given, section_defaults, overrides, registries)
        else:
            given = given.to_dict() if isinstance(given, ConfigDict) else given
            resolved[name] = _filled(given, section_defaults, f"config.{name}")
    _resolve_lists(resolved, registries)
    for dotted, text in _choices_first(overrides):
        section, _, key = dotted.partition(".")
        choice = resolved[section][CHOICE_KEYS[section]] if section in CHOICE_KEYS else ""
        if choice and key and "." not in key:
            _refuse_unknown_keys({key: text}, resolved[section], f"config.{section}", of=choice)
        _overridden(resolved, dotted.split("."), text, f"config.{dotted}")
        _resolve_lists(resolved, registries)  # the override may replace a list or rename an entry
    moved = _move_decay(config, overrides, resolved)
    _check_limits(resolved, registries)
    for section, key in CHOICE_KEYS.items():
        decay = moved if section == "optimizer" else 0.0
        resolved[section] = resolved_section(resolved[section], resolved[section][key], decay)
    return ResolvedConfig(resolved)


def _move_decay(config: ConfigDict, overrides: Mapping[str, str], resolved: Mapping) -> float:
    """Moves the loss's L2 penalty to an optimizer that decays weights by default, and back.

    Only if the optimizer replaces another, so that a config with an L2 penalty works with any.

    Returns:
      The penalty that is the optimizer's weight decay now; 0 if there is none.
    """
    given, optimizer, loss = config.get("optimizer"), resolved["optimizer"], resolved["loss"]
    before, former = getattr(given, "moved_decay", 0.0), former_choice(given, "name")
    if former in (None, optimizer["name"]):
        return before
    asked_for = {"optimizer.weight_decay", "loss.l2_regularization"} & set(overrides)
    set_since = getattr(given, "_set_since", frozenset())
    set_since |= getattr(config.get("loss"), "_set_since", frozenset())
    if asked_for or {"weight_decay", "l2_regularization"} & set_since:
        return 0.0
    strength = loss["l2_regularization"] or before
    if optimizer.get("weight_decay") and strength:
        optimizer["weight_decay"], loss["l2_regularization"] = strength, 0.0
        log.warning(
            "config.loss.l2_regularization=%g becomes config.optimizer.weight_decay: %s decays weights "
            "itself",
            strength,
            optimizer["name"],
        )
        return strength
    loss["l2_regularization"] = strength
    return 0.0


def _choices_first(overrides: Mapping[str, str]) -> list[tuple[str, str]]:
    """Sorts overrides: whole lists, then the names of list entries, then all others."""

    def rank(dotted: str) -> int:
        of_entry = any(dotted.startswith(f"{path}.") for path in LISTS) and dotted.endswith(".name")
        return 0 if dotted in LISTS else 1 if of_entry else 2

    return sorted(overrides.items(), key=lambda item: rank(item[0]))


def _resolved_section(
    name: str,
    given: Any,
    defaults: Mapping,
    overrides: Mapping[str, str],
    registries: Mapping[str, Registry],
) -> dict[str, Any]:
    """A section of `CHOICE_KEYS`, with the settings of its choice."""
    path, key = f"config.{name}", CHOICE_KEYS[name]
    _require_section(given, path)
    given_choice = typed(given.get(key, defaults[key]), "", f"{path}.{key}")
    values = meant_settings(given, given_choice, defaults)
    choice = typed(overrides.get(f"{name}.{key}", given_choice), "", f"{path}.{key}")
    if choice != given_choice:  # drop the former choice's settings
        values = {k: v for k, v in values.items() if k in defaults}
    settings = _settings(registries[name], choice, f"{path}.{key}")
    return _filled({**values, key: choice}, {**defaults, **settings}, path, of=choice)


def _resolve_lists(resolved: dict, registries: Mapping[str, Registry]) -> None:
    for dotted, registry in LISTS.items():
        section, _, key = dotted.rpartition(".")
        holder = resolved[section] if section else resolved
        holder[key] = _resolved_list(holder[key], registries[registry], f"config.{dotted}")


def _check_limits(resolved: dict, registries: Mapping[str, Registry]) -> None:
    """Refuses values outside their limits; makes paths absolute, so that records are unambiguous."""
    for path, part, limits in _limits(resolved, registries):
        for setting, limit in limits.items():
            if setting not in part:
                continue
            check(f"{path}.{setting}", part[setting], limit)
            is_path = limit in (PATH, PATH_OR_HUB) and not HUB_ADDRESS.fullmatch(part[setting])
            if is_path and part[setting]:
                part[setting] = os.path.abspath(os.path.expanduser(part[setting]))


def _limits(
    resolved: dict, registries: Mapping[str, Registry]
) -> Iterator[tuple[str, dict, Mapping[str, Limit]]]:
    """Each section and list entry: its path, its contents, and the limits of its settings."""
    for dotted, limit in LIMITS.items():
        section, _, setting = dotted.rpartition(".")
        path = f"config.{section}" if section else "config"
        yield path, resolved[section] if section else resolved, {setting: limit}
    for section, key in CHOICE_KEYS.items():
        part = resolved[section]
        yield f"config.{section}", part, registries[section].limits(part[key])
    for dotted, registry in LISTS.items():
        section, _, key = dotted.rpartition(".")
        for i, entry in enumerate((resolved[section] if section else resolved)[key]):
            yield f"config.{dotted}.{i}", entry, registries[registry].limits(entry["name"])


def _import_modules(config: ConfigDict, overrides: Mapping[str, str], defaults: Mapping) -> None:
    """Imports the modules in `imports`, which may register what the config chooses."""
    given = config.get("imports", defaults["imports"])
    if "imports" in overrides:
        given = parsed(overrides["imports"], ())
    import_modules(typed(given, ("",), "config.imports"), "config.imports")


def import_modules(names: Iterable[str], setting: str) -> None:
    """Imports the user's modules, from the working directory or an installed package.

    Raises:
      UserError: a module does not exist or fails.
    """
    names = tuple(names)
    if names and os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # a script may call sys.exit()
            reason = " ".join(str(error).split())
            raise UserError(
                f"{setting}: {name!r} cannot be imported: {type(error).__name__}: {reason}; it takes "
                "modules in the working directory or in an installed package"
            ) from error


def resolve_settings(
    registry: Registry, choice: str, overrides: Mapping[str, str], prefix: str
) -> dict[str, Any]:
    """The settings of a registry entry that overrides set, without the defaults.

    Args:
      overrides: setting → string, as on the command line.
      prefix: precedes a setting's name in messages.

    Raises:
      UserError: the entry or a setting does not exist, or a value has the wrong type.
    """
    settings = registry.settings(choice)
    for key, text in overrides.items():
        _refuse_unknown_keys({key: text}, settings, prefix, of=choice)
        _overridden(settings, [key], text, f"{prefix}.{key}")
    return {key: settings[key] for key in overrides}


def _settings(registry: Registry, choice: str, path: str) -> dict[str, Any]:
    try:
        return registry.settings(choice)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _resolved_list(entries: Any, registry: Registry, setting: str) -> list[ResolvedEntry]:
    resolved = []
    for i, entry in enumerate(entries):
        path = f"{setting}.{i}"
        entry = entry.to_dict() if isinstance(entry, ConfigDict) else entry
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise UserError(f"{path}={shown(entry)}: an entry is a dictionary with a 'name'")
        name = entry["name"]
        settings = _settings(registry, name, f"{path}.name")
        values = meant_settings(entry, name, {"name": ""})
        filled = _filled(values, {"name": "", **settings}, path, of=name)
        resolved.append(ResolvedEntry(filled, name))
    return resolved


def _require_section(values: Any, path: str) -> None:
    if not isinstance(values, Mapping | ConfigDict):
        raise UserError(f"{path}={shown(values)} is a section of settings, not one value")


def _refuse_unknown_keys(values: Any, valid: Mapping, path: str, of: str = "") -> None:
    _require_section(values, path)
    for key in values:
        if key not in valid:
            owner = f"'{of}' has no such setting" if of else "there is no such setting"
            raise UserError(f"{path}.{key}: {owner}; {suggestion(key, valid)}")


def _filled(values: Any, defaults: Any, path: str, of: str = "") -> Any:
    """`values` completed from `defaults`, each leaf checked against its default's type."""
    if not isinstance(defaults, Mapping):
        return typed(values, defaults, path)
    _refuse_unknown_keys(values, defaults, path, of)
    return {
        key: _filled(values[key], default, f"{path}.{key}") if key in values else default
        for key, default in defaults.items()
    }


def _overridden(part: Any, keys: list[str], text: Any, path: str, depth: int = 1) -> Any:
    """A section or list in which the leaf at `keys` is set; list entries are indexed by number."""
    key = _index(part, keys[0], path, depth)
    if keys[1:]:
        value = _overridden(part[key], keys[1:], text, path, depth + 1)
    elif isinstance(part[key], Mapping):
        raise UserError(f"{path} is a section; set one of: {', '.join(sorted(part[key]))}")
    else:
        value = typed(parsed(text, part[key]), part[key], path)
    if isinstance(part, tuple):
        return (*part[:key], value, *part[key + 1 :])
    part[key] = value
    return part


def _index(part: Any, key: str, path: str, depth: int) -> str | int:
    where = ".".join(path.split(".")[: depth + 1])
    if isinstance(part, Mapping):
        if key in part:
            return key
        raise UserError(f"{where}: there is no such setting; {suggestion(key, part)}")
    holder = where.rpartition(".")[0]
    if not isinstance(part, list | tuple):
        raise UserError(f"{where}: there is no such setting; {holder} has no parts")
    if not (key.isdecimal() and int(key) < len(part)):
        entries = f"entries 0 to {len(part) - 1}" if part else "no entries"
        raise UserError(f"{where}: there is no such entry; {holder} has {entries}")
    return int(key)
