"""What a compiled program needs: FLOP, bytes, memory and collectives, on each device."""

import math
import re
from dataclasses import asdict, dataclass

import jax

_COLLECTIVES = (
    "all-gather", "all-reduce", "all-to-all", "collective-broadcast", "collective-permute",
    "ragged-all-to-all", "reduce-scatter",
)  # fmt: skip
# `%name = shape all-reduce(…`; an asynchronous one is a start and a done, and counts at its start.
_OPERATION = re.compile(rf"= (.+?) ({'|'.join(_COLLECTIVES)})(-start)?\(")
_ARRAY = re.compile(r"\b([a-z]+)(\d*)\w*\[([\d,]*)\]")


@dataclass(frozen=True)
class Traffic:
    """The collectives of one kind: how many, and the bytes of their results."""

    count: int
    bytes: int


@dataclass(frozen=True)
class Needs:
    """What a program needs on each device, as XLA counts it; a loop's body counts once.

    Attributes:
      flop: floating-point operations.
      bytes_accessed: bytes that its operations read and write.
      arguments, outputs, temporaries, peak: bytes of memory. Outputs that take the place of
        arguments are among both.
      total: bytes of memory, without counting these twice.
      collectives: by kind.
    """

    flop: float
    bytes_accessed: float
    arguments: int
    outputs: int
    temporaries: int
    peak: int
    total: int
    collectives: dict[str, Traffic]

    @classmethod
    def of(cls, program: jax.stages.Compiled) -> "Needs":
        """Reads them off a compiled program."""
        costs, memory = program.cost_analysis(), program.memory_analysis()
        arguments, outputs = memory.argument_size_in_bytes, memory.output_size_in_bytes
        temporaries, shared = memory.temp_size_in_bytes, memory.alias_size_in_bytes
        return cls(
            flop=costs["flops"],
            bytes_accessed=costs["bytes accessed"],
            arguments=arguments,
            outputs=outputs,
            temporaries=temporaries,
            peak=memory.peak_memory_in_bytes,
            total=arguments + outputs - shared + temporaries + memory.generated_code_size_in_bytes,
            collectives=collectives(program.as_text()),
        )

    def to_json(self) -> dict:
        return asdict(self)


def collectives(text: str) -> dict[str, Traffic]:
    """The collectives in a compiled program's text, by kind, in alphabetical order."""
    found: dict[str, list[int]] = {}
    for result, kind, start in _OPERATION.findall(text):
        sizes = [_bytes(*array) for array in _ARRAY.findall(result)]
        # The start of these returns operands, results and marks of its own.
        if start and kind in ("all-gather", "collective-permute"):
            sizes = sizes[1:2]
        found.setdefault(kind, []).append(sum(sizes))
    return {kind: Traffic(len(found[kind]), sum(found[kind])) for kind in sorted(found)}


def _bytes(kind: str, bits: str, sizes: str) -> int:
    """The size of an array `f32[8,16]`: kind 'f', bits '32', sizes '8,16'."""
    width = int(bits) if bits else 8 if kind == "pred" else 0
    return math.prod(int(size) for size in sizes.split(",") if size) * width // 8
