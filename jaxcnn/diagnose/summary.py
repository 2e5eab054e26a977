"""A summary of a model by layer: shapes, parameters, multiply-adds, receptive fields, strides."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from jaxcnn.cpu.forms import plain_forms
from jaxcnn.diagnose.receptive_field import Reach, operations
from jaxcnn.models.classifier import Classifier, abstract_variables
from jaxcnn.models.tracing import layer_at


@dataclass
class Layer:
    """One layer: a module with parameters, or a pooling.

    Attributes:
      output: shape without the batch axis; None for a layer used in training only.
      multiply_adds: of its convolution or matrix product, for one image.
      receptive_field, stride: (rows, columns) in image pixels; None if the layer sees the whole
        image.
    """

    name: str
    output: tuple[int, ...] | None
    parameters: int
    multiply_adds: int = 0
    receptive_field: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None


@dataclass
class Summary:
    """All layers in order of computation; layers used in training only come last."""

    model: str
    input: tuple[int, int, int]
    layers: list[Layer]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """The largest receptive field of a feature map, before global pooling or flattening."""
        fields = [layer.receptive_field for layer in self.layers if layer.receptive_field]
        return tuple(map(max, zip(*fields, strict=True))) if fields else None

    def to_json(self) -> dict:
        return {
            **asdict(self),
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "receptive_field": self.receptive_field,
        }

    def table(self) -> str:
        """The summary as text, one line per layer."""
        rows = [["layer", "output", "parameters", "multiply-adds", "receptive field", "stride"]]
        rows += [
            [
                layer.name,
                _by(layer.output) if layer.output else "in training only",
                f"{layer.parameters:,}" if layer.parameters else "",
                f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
                _pixels(layer.receptive_field) if layer.output else "",
                _pixels(layer.stride) if layer.stride else "",
            ]
            for layer in self.layers
        ]
        total = [self.model, f"from {_by(self.input)}", f"{self.parameters:,}"]
        total += [f"{self.multiply_adds:,}", _pixels(self.receptive_field), ""]
        rows.append(total)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def summarize(name: str, model: Classifier, image_shape: tuple[int, int, int]) -> Summary:
    """Summarises a model by tracing it in evaluation mode, without computing anything.

    Args:
      image_shape: (height, width, channels).
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with plain_forms():
        variables = abstract_variables(model, image_shape)
        done = operations(lambda v, x: model.apply(v, x, train=False), variables, images)

    parameters: dict[tuple[str, ...], int] = {}
    for (*path, _leaf), value in flatten_dict(variables["params"]).items():
        parameters[tuple(path)] = parameters.get(tuple(path), 0) + math.prod(value.shape)
    layers: dict[tuple[str, ...], Layer] = {}
    for operation in done:
        path = layer_at(operation.scope, parameters)
        if path is None:
            continue
        layer = layers.setdefault(path, Layer("/".join(path), None, parameters.get(path, 0)))
        layer.output = operation.shape[1:]
        layer.multiply_adds += operation.multiply_adds if path in parameters else 0
        is_map = isinstance(operation.reach, Reach)
        layer.receptive_field, layer.stride = operation.reach[:2] if is_map else (None, None)
    unused = [
        Layer("/".join(path), None, count)
        for path, count in parameters.items()
        if path not in layers
    ]
    return Summary(name, image_shape, [*layers.values(), *unused])


def _pixels(pair: tuple[int, int] | None) -> str:
    if pair is None:
        return "all"
    return str(pair[0]) if pair[0] == pair[1] else _by(pair)


def _by(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
