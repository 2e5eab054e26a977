"""A comparison: a base config, its arms with their search spaces, the budget and the target."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.compare.spaces import Space, space_from_json
from jaxcnn.config import CHOICE_KEYS, default_config
from jaxcnn.config.values import plain
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve
from jaxcnn.train.metrics import HIGHER_IS_BETTER

SAMPLERS = ("halton", "sobol", "random", "grid", "tpe")
SELECT_BY = ("metric", "steps_to_target")
WAYS = ("sequential", "vmap", "map", "shard_map")


@dataclass(frozen=True)
class Arm:
    """One of the alternatives in a comparison.

    Attributes:
      settings: dotted key → value; overrides the base config.
      space: dotted key → the values to search; an arm without a space is not tuned.
      trials: number of points to try; None takes the comparison's.
      source: the publication that the space comes from, for the report.
    """

    settings: Mapping[str, Any]
    space: Mapping[str, Space] = field(default_factory=dict)
    trials: int | None = None
    source: str = ""


@dataclass(frozen=True)
class Comparison:
    """What to compare and how; usually defined by a file in configs/ablations/.

    Attributes:
      title: title of the report.
      base: the config that all arms share.
      arms: the arms by name.
      target: the value of `metric` to reach.
      metric: the validation metric that selects the best point of an arm and compares the arms.
      select_by: 'metric', or 'steps_to_target': the fewest steps to `target`, with ties broken by the
        metric.
      sampler: how the search draws its points; 'grid' tries every combination of values.
      trials: points per arm.
      seeds_per_trial: runs per point; the mean of their values is the value of the point.
      seeds: runs of each arm's best point, with seeds that the search did not use.
      way: how a worker runs trials. 'sequential': one after another, sharing one compiled program
        if they differ only in numbers. 'vmap', 'map' and 'shard_map': several in one program, all at
        once, one after another, or split across the devices. Fixed for a study.
      pack: trials per program, unless sequential.
      seed: seed of the search.
      halving: 0, or the factor η of successive halving (`halving.py`): after each rung the best 1/η of
        the points continue.
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
        """Whether a larger value of the metric is better."""
        return self.metric in HIGHER_IS_BETTER

    def points(self, arm: str) -> int:
        """Returns the number of points that an arm tries."""
        arm = self.arms[arm]
        if not arm.space:
            return 0
        if self.sampler == "grid":
            return math.prod(len(space.grid()) for space in arm.space.values())
        return self.trials if arm.trials is None else arm.trials

    def config(
        self, arm: str, settings: Mapping[str, Any] | None = None, seed: int = 0
    ) -> ConfigDict:
        """Returns the resolved config of a trial.

        An optimizer, model, etc. that the arm chooses starts from its defaults, even if the base
        chooses the same one: the tuned settings of the base would favour that arm.

        Args:
          settings: dotted key → value, as chosen by the search; None for the untuned arm.

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
        """Returns the comparison that `to_json` describes."""
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
        """Returns everything that defines the trials, as JSON types."""
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
    """Formats the value of a setting as on the command line."""
    return value if isinstance(value, str) else repr(plain(value))
