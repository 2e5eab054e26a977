"""The operations of a traced network: receptive fields, strides, multiply-adds."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from jaxcnn.cpu.forms import plain_forms
from jaxcnn.models.classifier import Classifier, features
from jaxcnn.models.tracing import called


class Reach(NamedTuple):
    """The receptive field of a feature map's pixel, and the stride between neighbouring pixels.

    All are in image pixels, rows first. As in published figures, the field includes the part beyond
    the image's edge. `start` is where the field of the map's first pixel begins: below 0 where there
    is padding.
    """

    field: tuple[int, int]
    stride: tuple[int, int]
    start: tuple[int, int] = (0, 0)

    def through(
        self,
        window: Sequence[int],
        strides: Sequence[int],
        dilation: Sequence[int] = (1, 1),
        before: Sequence[int] = (0, 0),
    ) -> "Reach":
        """The reach after a convolution or pooling window, with `before` pixels of padding first."""
        field, stride, start = map(np.array, self)
        field = field + (np.array(window) - 1) * dilation * stride
        start = start - np.array(before) * stride
        return Reach(*(tuple(pair.tolist()) for pair in (field, stride * strides, start)))

    def beside(self, other: "Reach") -> "Reach":
        """The reach of what is computed from both."""
        start = np.minimum(self.start, other.start)
        end = np.maximum(np.add(self.start, self.field), np.add(other.start, other.field))
        stride = np.maximum(self.stride, other.stride)
        return Reach(*(tuple(pair.tolist()) for pair in (end - start, stride, start)))

    def box(self, position: Sequence[int]) -> tuple[slice, slice]:
        """The image's rows and columns in the field of the map's pixel at (row, column).

        They may begin before the image, below 0, and end beyond it.
        """
        starts = (np.array(self.start) + np.array(self.stride) * position).tolist()
        return tuple(slice(at, at + f) for at, f in zip(starts, self.field, strict=True))


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
    found: list[Operation] = []
    _traced(function, weights, images, found)
    return found


def reaches_of(
    model: Classifier, variables: Mapping, image_shape: tuple[int, int, int]
) -> dict[str, Reach | Everything]:
    """The reach of each of a network's `features`, by name, for images (height, width, channels)."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with plain_forms():
        return _traced(lambda v, x: features(model, v, x), variables, images, [])


def _traced(
    function: Callable, weights: Any, images: jax.ShapeDtypeStruct, found: list[Operation]
) -> Any:
    """Appends the operations to `found`; returns the reach of each output, in their structure."""
    closed, outputs = jax.make_jaxpr(function, return_shape=True)(weights, images)
    inputs = [None] * (len(closed.jaxpr.invars) - 1) + [PIXEL]
    outgoing = _walk(closed.jaxpr, inputs, (), found)
    return jax.tree.unflatten(jax.tree.structure(outputs), outgoing)


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
    reach, params = functools.reduce(Reach.beside, known), eqn.params
    match eqn.primitive.name:
        case "conv_general_dilated":
            kernel, before = eqn.invars[1].aval.shape[:2], [low for low, _ in params["padding"]]
            strides, dilation = params["window_strides"], params["rhs_dilation"]
            return reach.through(kernel, strides, dilation, before)
        case "reduce_window" | "reduce_window_max" | "reduce_window_sum":
            window, strides = params["window_dimensions"], params["window_strides"]
            before = [low for low, _ in params["padding"][1:3]]
            return reach.through(window[1:3], strides[1:3], before=before)
        case "slice":
            before = [-start for start in params["start_indices"][1:3]]
            strides = (params["strides"] or (1, 1, 1, 1))[1:3]
            return reach.through((1, 1), strides, before=before)
        case "pad":
            before = [low for low, _, _ in params["padding_config"][1:3]]
            return reach.through((1, 1), (1, 1), before=before)
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
