"""A comparison: a base config, its arms with their search spaces, the budget and the target."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.compare.spaces import Space, plain, space_from_json
from jaxcnn.config import CHOICE_KEYS, default_config
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve
from jaxcnn.train.metrics import HIGHER_IS_BETTER

SAMPLERS = ("halton", "sobol", "random", "grid", "tpe")
SELECT_BY = ("metric", "steps_to_target")
WAYS = ("sequential", "vmap", "map", "shard_map")


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
      halving: 0, or the factor η of successive halving (`halving.py`): after each rung the best 1/η of
        the points train on.
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
    halving: int = 0

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
            **({"halving": self.halving} if self.halving else {}),
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
