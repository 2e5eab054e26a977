"""Which parameters decay, which are frozen, which learn at a rate of their own: regexes over paths."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.errors import UserError


@dataclass(frozen=True)
class ParameterGroups:
    """What a config's `parameters` section means for a model.

    `decayed` (bool) and `multipliers` (float; 0: frozen) have the structure of the parameters. `rules`
    says of each setting what it caught, for the run's log.
    """

    decayed: Any
    multipliers: Any
    rules: tuple[str, ...]

    @property
    def uniform(self) -> bool:
        """Whether every parameter learns at the one learning rate."""
        return all(multiplier == 1 for multiplier in jax.tree.leaves(self.multipliers))

    def held(self, params):
        """The parameters, the frozen ones cut off from the gradient: nothing is computed for them."""
        return jax.tree.map(
            lambda leaf, multiplier: leaf if multiplier else jax.lax.stop_gradient(leaf),
            params,
            self.multipliers,
        )


def parameter_groups(settings: Mapping, params) -> ParameterGroups:
    """Applies the rules to parameters, or to their shapes.

    Args:
      settings: the resolved section: `decayed` and `frozen`, regexes searched for in paths such as
        'stage1_block1/conv1/kernel', and `learning_rates`, a list of {'pattern', 'multiplier'}, of
        which the last that matches counts.
      params: nested dictionaries of arrays or of their shapes.

    Raises:
      UserError: a regex cannot be read or matches nothing, or freezing leaves nothing to train.
    """
    leaves = flatten_dict(params, sep="/")
    rules = []

    def caught(pattern: str, setting: str) -> set[str]:
        if not isinstance(pattern, str):
            raise UserError(f"{setting}={pattern!r} is not a regex, which is text")
        try:
            paths = {path for path in leaves if re.search(pattern, path)}
        except re.error as error:
            raise UserError(f"{setting}={pattern!r} is not a regex: {error}") from error
        if not paths:
            raise UserError(
                f"{setting}={pattern!r} matches no parameter; there are {', '.join(_some(leaves))}"
            )
        return paths

    def rule(what: str, paths: set[str]) -> None:
        numbers = sum(math.prod(leaves[path].shape) for path in paths)
        rules.append(f"{what}: {numbers:,} parameters in {len(paths)} of {len(leaves)} arrays")

    def union(key: str, what: str) -> set[str]:
        paths = set()
        for i, pattern in enumerate(settings[key]):
            paths |= caught(pattern, f"config.parameters.{key}.{i}")
        if paths:
            rule(f"{what} ({' | '.join(settings[key])})", paths)
        return paths

    decayed = union("decayed", "decayed")
    multipliers = dict.fromkeys(leaves, 1.0)
    for i, entry in enumerate(settings["learning_rates"]):
        setting = f"config.parameters.learning_rates.{i}"
        pattern, multiplier = _checked_rate(entry, setting)
        paths = caught(pattern, f"{setting}.pattern")
        rule(f"learning rate × {multiplier:g} ({pattern})", paths)
        multipliers |= dict.fromkeys(paths, multiplier)
    frozen = union("frozen", "frozen")
    if len(frozen) == len(leaves):
        raise UserError(
            f"config.parameters.frozen={list(settings['frozen'])} freezes every parameter"
        )
    multipliers |= dict.fromkeys(frozen, 0.0)
    return ParameterGroups(
        decayed=unflatten_dict({path: path in decayed - frozen for path in leaves}, sep="/"),
        multipliers=unflatten_dict(multipliers, sep="/"),
        rules=tuple(rules),
    )


def _checked_rate(entry: Any, setting: str) -> tuple[str, float]:
    if not isinstance(entry, Mapping) or set(entry) != {"pattern", "multiplier"}:
        raise UserError(f"{setting}={entry!r} must be {{'pattern': REGEX, 'multiplier': NUMBER}}")
    multiplier = entry["multiplier"]
    is_number = isinstance(multiplier, int | float) and not isinstance(multiplier, bool)
    if not is_number or not 0 < multiplier < math.inf:
        raise UserError(
            f"{setting}.multiplier={multiplier!r} must be a number more than 0; "
            "config.parameters.frozen freezes"
        )
    return entry["pattern"], float(multiplier)


def _some(leaves: Mapping) -> list[str]:
    paths = list(leaves)
    return paths if len(paths) <= 6 else [*paths[:3], "…", *paths[-3:]]
