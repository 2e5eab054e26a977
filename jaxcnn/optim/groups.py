"""Parameter groups: weight decay, freezing and learning rates by regexes over parameter paths."""

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.errors import UserError


class ParameterGroups(flax.struct.PyTreeNode):
    """`config.parameters` applied to a model, by path, such as 'stage1_block1/conv1/kernel'."""

    decayed: frozenset[str] = flax.struct.field(pytree_node=False)
    frozen: frozenset[str] = flax.struct.field(pytree_node=False)
    multipliers: dict[str, Any]  # path → learning-rate factor, where it is not 1

    @property
    def uniform(self) -> bool:
        """Whether all parameters have the same learning rate."""
        return not (self.frozen or self.multipliers)

    def decay_mask(self, params) -> Any:
        """A tree of the parameters' structure, True for those that decay."""
        return _by_path(lambda path, _: path in self.decayed, params)

    def without_frozen_gradients(self, params) -> Any:
        """The parameters, with `stop_gradient` on frozen ones: their gradient is not computed."""
        return _by_path(
            lambda path, leaf: jax.lax.stop_gradient(leaf) if path in self.frozen else leaf, params
        )

    def scaled(self, updates) -> Any:
        """The updates multiplied by each parameter's factor, and zero for frozen parameters."""

        def scale(path: str, update: jax.Array) -> jax.Array:
            if path in self.frozen:
                return jnp.zeros_like(update)
            factor = self.multipliers.get(path)
            return update if factor is None else update * jnp.asarray(factor, update.dtype)

        return _by_path(scale, updates)


def _by_path(function: Callable[[str, Any], Any], params) -> Any:
    leaves = flatten_dict(params, sep="/")
    return unflatten_dict({path: function(path, leaf) for path, leaf in leaves.items()}, sep="/")


class Matcher:
    """Finds the parameters that regexes match, and describes each match in `rules`."""

    def __init__(self, params, kind: str = "parameter"):
        """`params`: nested dictionaries of arrays or of their shapes, each one `kind` to a message."""
        self.leaves, self._kind = flatten_dict(params, sep="/"), kind
        self.rules: list[str] = []

    def matched(self, pattern: str, setting: str) -> set[str]:
        """The paths that a regex matches (`re.search`).

        Raises:
          UserError: the regex is invalid or matches nothing.
        """
        if not isinstance(pattern, str):
            raise UserError(f"{setting}={pattern!r} is not a regex: it must be a string")
        try:
            paths = {path for path in self.leaves if re.search(pattern, path)}
        except re.error as error:
            raise UserError(f"{setting}={pattern!r} is not a regex: {error}") from error
        if not paths:
            there = ", ".join(_some(self.leaves))
            raise UserError(f"{setting}={pattern!r} matches no {self._kind}; there are {there}")
        return paths

    def matched_by_any(self, patterns: list[str], setting: str) -> set[str]:
        """The paths that any of the regexes matches."""
        matched = (self.matched(pattern, f"{setting}.{i}") for i, pattern in enumerate(patterns))
        return set().union(*matched)

    def add_rule(self, what: str, patterns: list[str], paths: set[str]) -> None:
        """Adds a line about the paths that regexes select; none if there are none."""
        if not paths:
            return
        numbers = sum(math.prod(self.leaves[path].shape) for path in paths)
        arrays = f"{len(paths)} of {len(self.leaves)} arrays"
        self.rules.append(f"{what} ({' | '.join(patterns)}): {numbers:,} parameters in {arrays}")


def parameter_groups(
    settings: Mapping,
    params,
    also_frozen: frozenset[str] = frozenset(),
    multipliers: Mapping[str, float] = MappingProxyType({}),
) -> tuple[ParameterGroups, tuple[str, ...]]:
    """Builds the parameter groups that a config's `parameters` section describes.

    Args:
      settings: the resolved section: `decayed` and `frozen`, lists of regexes searched for in paths
        such as 'stage1_block1/conv1/kernel', and `learning_rates`, a list of {'pattern',
        'multiplier'}, in which the last match wins.
      params: nested dictionaries of arrays or of their shapes.
      also_frozen: paths that are frozen in addition to those of the section.
      multipliers: learning-rate factors by path, where the section gives none.

    Returns:
      The groups, and for the log a line for each rule with the number of parameters it matches.

    Raises:
      UserError: a regex is invalid or matches nothing, or no parameter is left to train.
    """
    matcher = Matcher(params)
    chosen = {
        key: matcher.matched_by_any(settings[key], f"config.parameters.{key}")
        for key in ("decayed", "frozen")
    }
    frozen = chosen["frozen"] | also_frozen
    decayed = chosen["decayed"] - frozen
    matcher.add_rule("decayed", settings["decayed"], decayed)
    multipliers = dict(multipliers)
    for i, entry in enumerate(settings["learning_rates"]):
        setting = f"config.parameters.learning_rates.{i}"
        pattern, multiplier = _checked_rate(entry, setting)
        paths = matcher.matched(pattern, f"{setting}.pattern")
        matcher.add_rule(f"learning rate × {multiplier:g}", [pattern], paths)
        multipliers |= dict.fromkeys(sorted(paths), multiplier)
    matcher.add_rule("frozen", settings["frozen"], chosen["frozen"])
    if len(frozen) == len(matcher.leaves):
        raise UserError(
            f"config.parameters.frozen={list(settings['frozen'])} freezes every parameter"
        )
    groups = ParameterGroups(
        decayed=frozenset(decayed),
        frozen=frozenset(frozen),
        multipliers={path: m for path, m in multipliers.items() if path not in frozen and m != 1},
    )
    return groups, tuple(matcher.rules)


def _checked_rate(entry: Any, setting: str) -> tuple[str, float]:
    if not isinstance(entry, Mapping) or set(entry) != {"pattern", "multiplier"}:
        raise UserError(f"{setting}={entry!r} must be {{'pattern': REGEX, 'multiplier': NUMBER}}")
    multiplier = entry["multiplier"]
    is_number = isinstance(multiplier, int | float) and not isinstance(multiplier, bool)
    if not is_number or not 0 < multiplier < math.inf:
        raise UserError(
            f"{setting}.multiplier={multiplier!r} must be a number more than 0; "
            "to freeze parameters, use config.parameters.frozen"
        )
    return entry["pattern"], float(multiplier)


def _some(leaves: Mapping) -> list[str]:
    paths = list(leaves)
    return paths if len(paths) <= 6 else [*paths[:3], "…", *paths[-3:]]
