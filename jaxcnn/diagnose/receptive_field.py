"""The operations of a traced network: receptive fields, strides, multiply-adds."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from jaxcnn.models.tracing import called


class Reach(NamedTuple):
    """The receptive field of a feature map's pixel, and the stride between neighbouring pixels.

    `field` and `stride` are in image pixels, rows first. As in published figures, the field
    includes the part beyond the image's edge.
    """

    field: tuple[int, int]
    stride: tuple[int, int]

    def through(
        self, window: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...] = (1, 1)
    ) -> "Reach":
        """The reach after a convolution or pooling window."""
        return Reach(
            tuple(
                f + (w - 1) * d * s
                for f, s, w, d in zip(self.field, self.stride, window, dilation, strict=True)
            ),
            tuple(s * step for s, step in zip(self.stride, strides, strict=True)),
        )


PIXEL = Reach((1, 1), (1, 1))


class Everything:
    """The reach of a value that is no longer a feature map: globally pooled or flattened."""


EVERYTHING = Everything()


class Operation(NamedTuple):
    """One operation on values computed from the images."""

    primitive: str
    scope: tuple[str, ...]  # its named scopes, outermost first
    shape: tuple[int, ...]  # of its output
    reach: Reach | Everything
    multiply_adds: int


def operations(function: Callable, weights: Any, images: jax.ShapeDtypeStruct) -> list[Operation]:
    """The operations of `function(weights, images)` on images (batch, height, width, channels)."""
    closed = jax.make_jaxpr(function)(weights, images)
    inputs = [None] * (len(closed.jaxpr.invars) - 1) + [PIXEL]
    found: list[Operation] = []
    _walk(closed.jaxpr, inputs, (), found)
    return found


def _walk(jaxpr: Jaxpr, inputs: list, scope: tuple[str, ...], found: list[Operation]) -> list:
    """Appends the operations of a jaxpr to `found`; returns the reaches of its outputs."""
    reaches = dict(zip(jaxpr.invars, inputs, strict=True))

    def reach_of(atom) -> Reach | Everything | None:
        return None if isinstance(atom, Literal) else reaches.get(atom)

    for eqn in jaxpr.eqns:
        incoming = [reach_of(atom) for atom in eqn.invars]
        here = scope + tuple(filter(None, str(eqn.source_info.name_stack).split("/")))
        inner = called(eqn)
        if inner is not None:
            outgoing = _walk(inner.jaxpr, incoming, here, found)
        elif all(reach is None for reach in incoming):
            outgoing = [None] * len(eqn.outvars)  # computed from weights only
        else:
            reach = _after(eqn, incoming)
            outgoing = [reach] * len(eqn.outvars)
            shape = eqn.outvars[0].aval.shape
            found.append(Operation(eqn.primitive.name, here, shape, reach, _multiply_adds(eqn)))
        reaches.update(zip(eqn.outvars, outgoing, strict=True))
    return [reach_of(atom) for atom in jaxpr.outvars]


def _after(eqn: JaxprEqn, incoming: list) -> Reach | Everything:
    """The reach of an operation's output."""
    shape = eqn.outvars[0].aval.shape
    known = [reach for reach in incoming if isinstance(reach, Reach)]
    # A value reduced over the whole map, such as a normalisation mean, does not extend the field
    # when it is combined with the map again: published fields consider kernels only.
    if not known or len(shape) != 4:
        return EVERYTHING
    reach = Reach(*(tuple(map(max, *parts, parts[0])) for parts in zip(*known, strict=True)))
    params = eqn.params
    match eqn.primitive.name:
        case "conv_general_dilated":
            kernel = eqn.invars[1].aval.shape[:2]
            return reach.through(kernel, params["window_strides"], params["rhs_dilation"])
        case "reduce_window" | "reduce_window_max" | "reduce_window_sum":
            window, strides = params["window_dimensions"], params["window_strides"]
            return reach.through(window[1:3], strides[1:3])
        case "slice" if params["strides"]:
            return reach.through((1, 1), params["strides"][1:3])
        case "reshape" | "dot_general" if shape[1:3] != eqn.invars[0].aval.shape[1:3]:
            return EVERYTHING
    return reach


def _multiply_adds(eqn: JaxprEqn) -> int:
    outputs = math.prod(eqn.outvars[0].aval.shape)
    match eqn.primitive.name:
        case "conv_general_dilated":
            return outputs * math.prod(eqn.invars[1].aval.shape[:3])
        case "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            return outputs * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
    return 0
