"""A comparison: a base config, its arms with their search spaces, the budget and the target."""

import copy
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.compare.spaces import Choice, Space, is_number, plain, space_from_json
from jaxcnn.config import CHOICE_KEYS, default_config, run_config_file
from jaxcnn.config.values import shown
from jaxcnn.errors import UserError, check_choice
from jaxcnn.train.experiment import resolve
from jaxcnn.train.metrics import ALL, HIGHER_IS_BETTER

SAMPLERS = ("halton", "sobol", "random", "grid", "tpe")
SELECT_BY = ("metric", "steps_to_target")
WAYS = ("sequential", "vmap", "map", "shard_map")
_NAMES = {"metric": ALL, "sampler": SAMPLERS, "select_by": SELECT_BY, "way": WAYS}


@dataclass(frozen=True)
class Arm:
    """One of the things that are compared.

    Attributes:
      settings: dotted key → value, in place of the base config's.
      space: dotted key → what a search may choose; empty: the arm is not tuned.
      trials: number of points to try, if not the comparison's.
      source: where the space is published, for the report.
    """

    settings: Mapping[str, Any]
    space: Mapping[str, Space] = field(default_factory=dict)
    trials: int | None = None
    source: str = ""


@dataclass(frozen=True)
class Comparison:
    """What is compared, and how; a file in configs/ablations/ defines one.

    Attributes:
      title: of the report.
      base: the config that all arms share.
      arms: by name.
      target: the value of `metric` that counts as reached.
      metric: of the validation split, to choose the best trial of an arm and to compare arms.
      select_by: 'metric', or 'steps_to_target': the fewest steps until `target` is reached, with ties
        broken by the metric.
      sampler: of the points of a search; a 'grid' has as many points as its values make.
      trials: number of points of each arm.
      seeds_per_trial: runs of each point; the mean of their values is the point's.
      seeds: number of runs of each arm's best point, with seeds that the search did not use.
      way: how a worker runs trials: 'sequential', one after another, with one compiled program for
        all that differ in numbers; or several in one program, by 'vmap', 'map' (one after another in
        the program) or 'shard_map' (a share on each device). A study keeps to one.
      pack: trials in one program, unless sequential.
      seed: of the search.
    """

    title: str
    base: ConfigDict
    arms: Mapping[str, Arm]
    target: float
    metric: str = "accuracy"
    select_by: str = "metric"
    sampler: str = "halton"
    trials: int = 16
    seeds_per_trial: int = 1
    seeds: int = 5
    way: str = "sequential"
    pack: int = 8
    seed: int = 0

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value of the metric is the better one."""
        return self.metric in HIGHER_IS_BETTER

    def points(self, arm: str) -> int:
        """The number of points that an arm tries."""
        arm = self.arms[arm]
        if not arm.space:
            return 0
        if self.sampler == "grid":
            return math.prod(len(space.grid()) for space in arm.space.values())
        return self.trials if arm.trials is None else arm.trials

    def config(
        self, arm: str, settings: Mapping[str, Any] | None = None, seed: int = 0
    ) -> ConfigDict:
        """The resolved config of a trial.

        A choice that the arm makes starts from its defaults, even if the base makes the same choice:
        the settings of a tuned base would favour that arm.

        Args:
          settings: dotted key → value, what the search chose; None: the arm as it comes.

        Raises:
          UserError: a setting does not exist, or a value is not allowed; the message names the arm.
        """
        given = {**self.arms[arm].settings, **(settings or {}), "seed": seed}
        config = ConfigDict(copy.deepcopy(self.base.to_dict()))
        common = default_config()
        for section, key in CHOICE_KEYS.items():
            if f"{section}.{key}" in given:
                kept = {k: v for k, v in config.get(section, {}).items() if k in common[section]}
                config[section] = ConfigDict({**kept, key: given[f"{section}.{key}"]})
        try:
            return resolve(config, {key: as_text(value) for key, value in given.items()})
        except UserError as error:
            raise UserError(f"arm {arm!r}: {error}") from error

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> "Comparison":
        """The comparison that `to_json` described."""
        arms = {
            name: Arm(
                arm["settings"],
                {key: space_from_json(space) for key, space in arm["space"].items()},
                arm["trials"] or None,
                arm["source"],
            )
            for name, arm in described["arms"].items()
        }
        return cls(**{**described, "base": ConfigDict(described["base"]), "arms": arms})

    def to_json(self) -> dict[str, Any]:
        """All that defines the trials, in JSON's types."""
        return {
            "title": self.title,
            "target": self.target,
            "metric": self.metric,
            "select_by": self.select_by,
            "sampler": self.sampler,
            "trials": self.trials,
            "seeds_per_trial": self.seeds_per_trial,
            "seeds": self.seeds,
            "way": self.way,
            "pack": self.pack,
            "seed": self.seed,
            "base": resolve(self.base).to_dict(),
            "arms": {
                name: {
                    "settings": {key: plain(value) for key, value in arm.settings.items()},
                    "space": {key: space.to_json() for key, space in arm.space.items()},
                    "trials": self.points(name),
                    "source": arm.source,
                }
                for name, arm in self.arms.items()
            },
        }


def as_text(value: Any) -> str:
    """A setting's value as on the command line."""
    return value if isinstance(value, str) else repr(plain(value))


def load_comparison(
    path: str | Path, overrides: Mapping[str, str] | None = None, **changes: Any
) -> Comparison:
    """Runs a comparison's file, which defines `get_comparison()`.

    Args:
      path: of a file, or the name of a shipped one: 'ablations/optimizers_digits'.
      overrides: dotted key → text, of the base config: {"train.duration": "2 epochs"}.
      changes: fields of the comparison, such as `trials` and `seeds`.

    Raises:
      UserError: the file is missing or fails; a field, a setting or a space is not valid.
    """
    comparison = replace(run_config_file(path, "get_comparison", Comparison), **changes)
    _check_base(comparison)
    comparison = replace(comparison, base=resolve(comparison.base, overrides))
    check_comparison(comparison)
    return comparison


def check_comparison(comparison: Comparison) -> None:
    """Refuses a comparison of which a trial would fail, before any is trained.

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
    if not isinstance(comparison.arms, Mapping):
        raise UserError(f"arms={shown(comparison.arms)} must be a dictionary: name → Arm")
    if not comparison.arms:
        raise UserError("arms={}: there is nothing to compare")
    for name, arm in comparison.arms.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name, re.ASCII):
            raise UserError(
                f"arm {name!r}: its trials have directories of this name; it takes letters, digits, "
                "'_', '.', '+' and '-'"
            )
        _check_parts(name, arm)
        _check_trials(comparison, name, arm)
        _check_values(comparison, name, arm)


def _check_base(comparison: Comparison) -> None:
    if not isinstance(comparison.base, ConfigDict):
        raise UserError(
            f"base={shown(comparison.base)} must be a config, as `get_config` returns it"
        )


def _check_target(comparison: Comparison) -> None:
    target, metric = comparison.target, comparison.metric
    if not is_number(target):
        raise UserError(f"target={shown(target)} must be a number, a value of {metric!r}")
    if comparison.higher_is_better and not 0 < target <= 1:
        raise UserError(f"target={target} must be more than 0 and at most 1, a value of {metric!r}")


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
            f"arm {name!r}: trials={arm.trials}, but a grid has as many as its values make"
        )


def _check_values(comparison: Comparison, name: str, arm: Arm) -> None:
    if "seed" in {**arm.settings, **arm.space}:
        raise UserError(f"arm {name!r}: seed is the study's to set; data.seed may be fixed")
    if both := arm.settings.keys() & arm.space.keys():
        raise UserError(f"arm {name!r}: {min(both)} is in its settings and in its space; keep one")
    comparison.config(name)
    first = {key: space.ends()[0] for key, space in arm.space.items()}
    for key, space in arm.space.items():
        if comparison.sampler == "grid":
            space.grid()
        for value in space.ends():  # beside values of the other settings, as in a trial
            config = comparison.config(name, {**first, key: value})
        if not isinstance(space, Choice) and not isinstance(_value(config, key), float):
            raise UserError(
                f"arm {name!r}: {key}={space}: this setting takes no fractions; list its values in a "
                "Choice"
            )


def _value(config: Any, key: str) -> Any:
    """The value of a dotted key."""
    for part in key.split("."):
        config = config[int(part) if isinstance(config, Sequence) else part]
    return config
