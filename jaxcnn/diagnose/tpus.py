"""TPU slices to compile for, whether or not they are there: their chips and their devices."""

import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import jax
from jax.experimental import topologies

from jaxcnn.errors import UserError

_CUBES = "2x2x1, 2x2x2, 2x2x4, 2x4x4, or multiples of 4 in rising order, such as 4x4x8"
_SQUARES = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")


@dataclass(frozen=True)
class Chip:
    """A kind of TPU, with its published figures.

    Attributes:
      flops: FLOP per second in bfloat16.
      bandwidth: bytes per second of its HBM.
      memory: bytes of its HBM.
      largest: chips in the largest slice.
      dimensions: of a slice.
    """

    flops: float
    bandwidth: float
    memory: float
    largest: int
    dimensions: int

    @property
    def shapes(self) -> str:
        """The shapes of its slices, in words."""
        return ", ".join(_SQUARES) if self.dimensions == 2 else _CUBES

    def has(self, shape: Sequence[int]) -> bool:
        """Whether slices come in this shape."""
        if self.dimensions == 2:
            return "x".join(map(str, shape)) in _SQUARES
        a, b, c = shape if len(shape) == 3 else (0, 0, 0)
        cubes = 0 < a <= b <= c and not any(n % 4 for n in shape) and a * b * c <= self.largest
        return cubes or tuple(shape) in ((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))


# Google Cloud's documentation, a page for each: TPU v4, TPU v5e, TPU v5p, TPU v6e, at
# docs.cloud.google.com/tpu/docs/ and then v4, v5e, v5p, v6e.
CHIPS = {
    "v4": Chip(275e12, 1200e9, 32 * 2**30, 4096, dimensions=3),
    "v5e": Chip(197e12, 819e9, 16 * 2**30, 256, dimensions=2),
    "v5p": Chip(459e12, 2765e9, 95 * 2**30, 6144, dimensions=3),
    "v6e": Chip(918e12, 1638e9, 32 * 2**30, 256, dimensions=2),
}


@dataclass(frozen=True)
class Topology:
    """One slice of TPUs, or several that are joined by their data centre's network."""

    name: str
    kind: str
    shape: tuple[int, ...]
    slices: int = 1

    @classmethod
    def of(cls, name: str) -> "Topology":
        """Reads 'v5e:2x4', or '2*v5e:2x4' for two such slices.

        Raises:
          UserError: there is no such slice.
        """
        parts = re.fullmatch(r"(?:([1-9]\d*)\*)?(\w+):(\d+(?:x\d+)*)", name)
        if not parts:
            raise UserError(f"topology={name!r} is not KIND:SHAPE or SLICES*KIND:SHAPE; {_VALID}")
        slices, kind, shape = parts.groups()
        if kind not in CHIPS:
            raise UserError(f"topology={name!r}: there is no {kind!r}; {_VALID}")
        sizes = tuple(map(int, shape.split("x")))
        if not CHIPS[kind].has(sizes):
            raise UserError(f"topology={name!r} does not exist; valid: {CHIPS[kind].shapes}")
        return cls(name, kind, sizes, int(slices or 1))

    @property
    def chip(self) -> Chip:
        return CHIPS[self.kind]

    def prepare(self) -> None:
        """Keeps JAX on the CPU, and libtpu from asking; call it before JAX initialises its devices.

        Raises:
          UserError: the compiler for TPUs, libtpu, is not installed.
        """
        if not importlib.util.find_spec("libtpu"):
            raise UserError(
                f"topology={self.name!r} needs the compiler for TPUs: pip install 'jaxcnn[tpu]'"
            )
        jax.config.update("jax_platforms", "cpu")
        # No TPU is used: others may load libtpu too, and it need not look for the slice it is in.
        os.environ.update(_ALONE)

    def devices(self) -> list[jax.Device]:
        """The devices, one for each chip, to compile for and not to run on."""
        self.prepare()
        settings = {"num_slices": self.slices} if self.slices > 1 else {}
        if self.shape == (1, 1):
            settings["chips_per_host_bounds"] = (1, 1, 1)
        if self.kind == "v4":  # both cores of a chip as one device, as on Cloud TPU
            settings["chip_config_name"] = "megacore"
        shape = "x".join(map(str, self.shape))
        described = topologies.get_topology_desc(f"{self.kind}:{shape}", "tpu", **settings)
        return described.devices


_ALONE = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}
_VALID = "valid: v4:2x2x1, v5e:2x4, v5p:2x2x1, v6e:2x4 and other shapes; 2*v5e:2x4 for two slices"
