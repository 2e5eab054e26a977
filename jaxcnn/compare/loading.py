"""Loads comparisons from files, and checks them before anything is trained."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.compare.comparison import SAMPLERS, SELECT_BY, WAYS, Arm, Comparison
from jaxcnn.compare.spaces import Choice, Space, is_number
from jaxcnn.config import run_config_file
from jaxcnn.config.values import shown
from jaxcnn.errors import UserError, check_choice
from jaxcnn.train.experiment import resolve
from jaxcnn.train.metrics import ALL

_NAMES = {"metric": ALL, "sampler": SAMPLERS, "select_by": SELECT_BY, "way": WAYS}


def load_comparison(
    path: str | Path, overrides: Mapping[str, str] | None = None, **changes: Any
) -> Comparison:
    """Loads a comparison from a file that defines `get_comparison()`.

    Args:
      path: a file, or the name of a shipped comparison: 'ablations/optimizers_digits'.
      overrides: dotted key → text, changes to the base config: {"train.duration": "2 epochs"}.
      changes: changes to fields of the comparison, such as `trials` and `seeds`.

    Raises:
      UserError: the file is missing or fails; a field, a setting or a space is not valid.
    """
    comparison = replace(run_config_file(path, "get_comparison", Comparison), **changes)
    _check_base(comparison)
    comparison = replace(comparison, base=resolve(comparison.base, overrides))
    check_comparison(comparison)
    return comparison


def check_comparison(comparison: Comparison) -> None:
    """Rejects a comparison if one of its trials would fail, before any is trained.

    Raises:
      UserError: a field, a setting, or a value at the end of a space is not valid.
    """
    _check_base(comparison)
    for name, valid in _NAMES.items():
        check_choice(name, str(getattr(comparison, name)), valid)
    for name, least in {
        "trials": 1,
        "seeds_per_trial": 1,
        "seeds": 1,
        "pack": 1,
        "seed": 0,
    }.items():
        value = getattr(comparison, name)
        if type(value) is not int or value < least:
            raise UserError(f"{name}={shown(value)} must be a whole number, at least {least}")
    _check_target(comparison)
    _check_halving(comparison)
    if not isinstance(comparison.arms, Mapping):
        raise UserError(f"arms={shown(comparison.arms)} must be a dictionary: name → Arm")
    if not comparison.arms:
        raise UserError("arms={}: there is nothing to compare")
    for name, arm in comparison.arms.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name, re.ASCII):
            raise UserError(
                f"arm {name!r}: the name of an arm is also a directory; it may contain letters, "
                "digits, '_', '.', '+' and '-'"
            )
        _check_parts(name, arm)
        _check_trials(comparison, name, arm)
        _check_values(comparison, name, arm)


def _check_base(comparison: Comparison) -> None:
    if not isinstance(comparison.base, ConfigDict):
        raise UserError(
            f"base={shown(comparison.base)} must be a config, as returned by `get_config`"
        )


def _check_target(comparison: Comparison) -> None:
    target, metric = comparison.target, comparison.metric
    if not is_number(target):
        raise UserError(f"target={shown(target)} must be a number, a value of {metric!r}")
    if comparison.higher_is_better and not 0 < target <= 1:
        raise UserError(f"target={target} must be more than 0 and at most 1, a value of {metric!r}")


def _check_halving(comparison: Comparison) -> None:
    factor = comparison.halving
    if type(factor) is not int or factor < 0 or factor == 1:
        raise UserError(f"halving={shown(factor)} must be a whole number, 2 or more, or 0 for none")
    if not factor:
        return
    for name, valid in {"way": WAYS[:1], "sampler": SAMPLERS[:-1]}.items():
        if (value := getattr(comparison, name)) not in valid:
            raise UserError(
                f"halving={factor} does not work with {name}={value!r}; valid: {', '.join(valid)}"
            )


def _check_parts(name: str, arm: Arm) -> None:
    if not isinstance(arm, Arm):
        raise UserError(f"arm {name!r}: {shown(arm)} must be an Arm(settings, space)")
    for part in ("settings", "space"):
        given = getattr(arm, part)
        if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
            raise UserError(
                f"arm {name!r}: {part}={shown(given)} must be a dictionary with dotted keys: "
                "'optimizer.learning_rate'"
            )
    for key, space in arm.space.items():
        if not isinstance(space, Space):
            raise UserError(
                f"arm {name!r}: {key}={shown(space)} must be a LogUniform, a Uniform or a Choice"
            )


def _check_trials(comparison: Comparison, name: str, arm: Arm) -> None:
    if arm.trials is None:
        return
    if type(arm.trials) is not int or arm.trials < 1:
        raise UserError(f"arm {name!r}: trials={shown(arm.trials)} must be at least 1")
    if not arm.space:
        raise UserError(f"arm {name!r}: trials={arm.trials}, but it has no space to search")
    if comparison.sampler == "grid":
        raise UserError(
            f"arm {name!r}: trials={arm.trials}, but the values of a grid determine its size"
        )


def _check_values(comparison: Comparison, name: str, arm: Arm) -> None:
    if "seed" in {**arm.settings, **arm.space}:
        raise UserError(f"arm {name!r}: the study sets seed; data.seed may be fixed")
    if both := arm.settings.keys() & arm.space.keys():
        raise UserError(
            f"arm {name!r}: {min(both)} is both in its settings and in its space; keep one"
        )
    comparison.config(name)
    first = {key: space.ends()[0] for key, space in arm.space.items()}
    for key, space in arm.space.items():
        if comparison.sampler == "grid":
            space.grid()
        for value in space.ends():  # together with the other settings, as in a trial
            config = comparison.config(name, {**first, key: value})
        if not isinstance(space, Choice) and not isinstance(_value(config, key), float):
            raise UserError(
                f"arm {name!r}: {key}={space}: this setting does not take fractions; list its "
                "values in a Choice"
            )


def _value(config: Any, key: str) -> Any:
    """Returns the value of a dotted key."""
    for part in key.split("."):
        config = config[int(part) if isinstance(config, Sequence) else part]
    return config
