"""The config: its defaults, and how a file and overrides become a full, checked one.

A config is an `ml_collections.ConfigDict`. Some of its sections choose one entry of a registry (a
model, an optimizer, …) and hold that entry's own settings beside the choice. Choosing another entry
drops the former's settings, so no setting is ever carried over to something it was not meant for.
"""

import ast
import math
import runpy
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.config.defaults import CHOICE_KEYS, LISTS, default_config
from jaxcnn.errors import UserError, suggestion
from jaxcnn.registry import Registry


def load_config_file(path: str | Path) -> ConfigDict:
    """Runs a config file and returns what its `get_config()` returns.

    Raises:
      UserError: the file is missing, fails, or has no `get_config`.
    """
    path = Path(path)
    if not path.is_file():
        here = sorted(str(p) for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise UserError(
            f"--config={path}: there is no such file; {suggestion(str(path), here)}"
            if here
            else f"--config={path}: there is no such file; --config takes the path of a config file"
        )
    try:
        config = runpy.run_path(str(path))["get_config"]()
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = getattr(error, "lineno", None) or (frames[-1].lineno if frames else "?")
        reason = (
            "it defines no get_config()"
            if isinstance(error, KeyError) and error.args == ("get_config",)
            else " ".join(str(error).split())
        )
        raise UserError(f"{path}, line {line}: {type(error).__name__}: {reason}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path}: get_config() returns {type(config).__name__}, not a ConfigDict")
    return config


def resolve(
    config: ConfigDict, overrides: Mapping[str, str], registries: Mapping[str, Registry]
) -> ConfigDict:
    """The full config: every section completed with the defaults of what it chooses, and checked.

    Args:
      config: what a config file returned; keys it leaves out take their defaults.
      overrides: dotted key → text, as on the command line: {"optimizer.learning_rate": "0.1"}.
      registries: for each section of `CHOICE_KEYS`, and for each of `LISTS`, where its choices are.

    Raises:
      UserError: an unknown key, a value of the wrong type, or a choice that does not exist.
    """
    default = default_config()
    given = config.to_dict()
    _refuse_unknown_keys(given, default.to_dict(), "config")
    resolved = {}
    for section, defaults in default.to_dict().items():
        key = CHOICE_KEYS.get(section)
        values = given.get(section, defaults)
        if key is None:
            resolved[section] = _filled(values, defaults, f"config.{section}")
            continue
        _require_section(values, f"config.{section}")
        file_choice = values.get(key, defaults[key])
        choice = overrides.get(f"{section}.{key}", file_choice)
        if choice != file_choice:  # the former choice's own settings mean nothing to the new one
            values = {k: v for k, v in values.items() if k in defaults}
        settings = _settings(registries[section], choice, f"config.{section}.{key}")
        values = {**values, key: choice}
        resolved[section] = _filled(
            values, {**defaults, **settings}, f"config.{section}", of=choice
        )
    data = resolved["data"]
    for key in LISTS:
        data[key] = _resolved_list(data[key], registries[key], f"config.data.{key}")
    for dotted, text in overrides.items():
        section, _, key = dotted.partition(".")
        choice = resolved[section][CHOICE_KEYS[section]] if section in CHOICE_KEYS else ""
        if choice and "." not in key:
            _refuse_unknown_keys({key: text}, resolved[section], f"config.{section}", of=choice)
        _override(resolved, dotted.split("."), text, f"config.{dotted}")
    for key in LISTS:  # an override may have replaced it
        data[key] = _resolved_list(data[key], registries[key], f"config.data.{key}")
    return ConfigDict(resolved)


def resolve_settings(
    registry: Registry, choice: str, overrides: Mapping[str, str], prefix: str
) -> dict[str, Any]:
    """The settings that overrides give one entry of a registry, without its defaults.

    Args:
      overrides: setting → text, as on the command line.
      prefix: what a message puts before a setting's name.

    Raises:
      UserError: the entry or a setting does not exist, or a value has the wrong type.
    """
    settings = registry.settings(choice)
    for key, text in overrides.items():
        _refuse_unknown_keys({key: text}, settings, prefix, of=choice)
        _override(settings, [key], text, f"{prefix}.{key}")
    return {key: settings[key] for key in overrides}


def _settings(registry: Registry, choice: str, path: str) -> dict[str, Any]:
    try:
        return registry.settings(choice)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _resolved_list(entries: list, registry: Registry, setting: str) -> list[dict[str, Any]]:
    resolved = []
    for i, entry in enumerate(entries):
        path = f"{setting}.{i}"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise UserError(f"{path}={entry!r}: an entry is a dictionary with a 'name'")
        settings = _settings(registry, entry["name"], f"{path}.name")
        resolved.append(_filled(entry, {"name": "", **settings}, path, of=entry["name"]))
    return resolved


def _require_section(values: Any, path: str) -> None:
    if not isinstance(values, Mapping):
        raise UserError(f"{path}={values!r} is a section of settings, not one value")


def _refuse_unknown_keys(values: Any, valid: Mapping, path: str, of: str = "") -> None:
    _require_section(values, path)
    for key in values:
        if key not in valid:
            owner = f"'{of}' has no such setting" if of else "there is no such setting"
            raise UserError(f"{path}.{key}: {owner}; {suggestion(key, valid)}")


def _filled(values: Any, defaults: Any, path: str, of: str = "") -> Any:
    """`values` with its gaps filled from `defaults`, every leaf checked against the default's type."""
    if not isinstance(defaults, Mapping):
        return _typed(values, defaults, path)
    _refuse_unknown_keys(values, defaults, path, of)
    return {
        key: _filled(values[key], default, f"{path}.{key}") if key in values else default
        for key, default in defaults.items()
    }


def _typed(value: Any, default: Any, path: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if default is None:
        return value
    if isinstance(default, bool):
        expected, ok = "True or False", isinstance(value, bool)
    elif isinstance(default, int):
        expected, ok = "a whole number", is_number and float(value).is_integer()
        value = int(value) if ok else value
    elif isinstance(default, float):
        expected, ok = "a number", is_number and math.isfinite(value)
        value = float(value) if ok else value
    elif isinstance(default, str):
        expected, ok = "text", isinstance(value, str)
    else:
        expected = "a list"
        ok = isinstance(value, Sequence) and not isinstance(value, str)
        if ok and default and not isinstance(default[0], Mapping):
            value = [_typed(item, default[0], f"{path}.{i}") for i, item in enumerate(value)]
        value = type(default)(value) if ok else value
    if not ok:
        raise UserError(f"{path}={value!r} has the wrong type; it must be {expected}")
    return value


def _override(section: Any, keys: list[str], text: str, path: str) -> None:
    """Sets the leaf that `keys` lead to; a list is indexed by number."""
    *parents, last = keys
    for depth, key in enumerate(parents, start=1):
        section = section[_index(section, key, path, depth)]
    last = _index(section, last, path, len(keys))
    if isinstance(section[last], Mapping):
        raise UserError(f"{path} is a section; set one of: {', '.join(sorted(section[last]))}")
    section[last] = _typed(_parsed(text, section[last]), section[last], path)


def _index(section: Any, key: str, path: str, depth: int) -> str | int:
    where = ".".join(path.split(".")[: depth + 1])
    if isinstance(section, list) and key.isdigit() and int(key) < len(section):
        return int(key)
    if isinstance(section, Mapping) and key in section:
        return key
    if isinstance(section, Mapping):
        raise UserError(f"{where}: there is no such setting; {suggestion(key, section)}")
    raise UserError(
        f"{where}: there is no such setting; '{path.split('.')[depth - 1]}' has no parts"
    )


def _parsed(text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    if isinstance(default, bool) and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
