"""What a network needs to know about a data set: shapes, classes, normalisation, sizes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TargetScale:
    """Mean and standard deviation of the training targets: float32, in a target's shape.

    The targets in the splits are standardised: (target − mean)/std.
    """

    mean: np.ndarray
    std: np.ndarray


@dataclass(frozen=True, eq=False)
class DataSpec:
    """A data set's description, stored in the data set, in each checkpoint and in a saved run.

    Attributes:
      image_shape: (height, width, channels).
      class_names: in label order; empty for regression.
      mean, std: float32 (channels,), over the stored pixels of the training split; images become
        (pixel − mean)/std.
      pixel_dtype: 'uint8' (0 … 255) or 'float32' (on the source's scale).
      targets: the target scale, for regression.
      sizes: number of examples per split.
      class_counts: number of training examples per class; None for regression, or if unknown.
    """

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    pixel_dtype: str
    targets: TargetScale | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    class_counts: tuple[int, ...] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataSpec) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(json.dumps(self.to_json()))

    @property
    def outputs(self) -> int:
        """The number of network outputs per image: one per class, or one per target entry."""
        return self.targets.mean.size if self.targets else len(self.class_names)

    def to_json(self) -> dict[str, Any]:
        """The description in JSON types; float32 values round-trip exactly."""
        targets = self.targets
        return {
            "image_shape": list(self.image_shape),
            "class_names": list(self.class_names),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "pixel_dtype": self.pixel_dtype,
            "targets": targets and {"mean": targets.mean.tolist(), "std": targets.std.tolist()},
            "sizes": dict(self.sizes),
            "class_counts": self.class_counts and list(self.class_counts),
        }

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> "DataSpec":
        """The inverse of `to_json`."""
        targets, counts = described["targets"], described.get("class_counts")
        return cls(
            image_shape=tuple(described["image_shape"]),
            class_names=tuple(described["class_names"]),
            mean=np.array(described["mean"], np.float32),
            std=np.array(described["std"], np.float32),
            pixel_dtype=described["pixel_dtype"],
            targets=targets and TargetScale(*(np.float32(targets[k]) for k in ("mean", "std"))),
            sizes=dict(described["sizes"]),
            class_counts=counts and tuple(counts),
        )
