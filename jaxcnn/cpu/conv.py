"""Convolution on a CPU: equal to XLA's up to rounding, and faster where XLA's is slow.

The faster implementation was measured shape by shape (docs/performance.md). XLA's is
used except for

- the gradient of a 1×1 or grouped kernel: one matrix product per kernel position, 1.2 to 250 times
  as fast;
- images with few channels: blocks of columns are multiplied by a banded matrix, 1 to 10 times as
  fast, or, for the gradient of a kernel from one channel to few, by the gradient of the outputs,
  1.5 times as fast.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.cpu.forms import computed_once, use_cpu_forms

# The banded matrix is faster below this many input channels; for the kernel gradient, only on
# single-channel images and below this many output channels.
_CHANNELS_FOR_BANDS = 8
_OUTPUTS_FOR_BANDS = 16

_NHWC = ("NHWC", "HWIO", "NHWC")


class Window(NamedTuple):
    """The parameters of a convolution; per axis, rows first."""

    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int
    precision: lax.PrecisionLike


def conv_general_dilated(
    images: jax.Array,
    kernel: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    dimension_numbers: lax.ConvDimensionNumbers,
    feature_group_count: int,
    precision: lax.PrecisionLike,
) -> jax.Array:
    """`lax.conv_general_dilated` as `flax.linen.Conv` calls it, with fast gradients on a CPU.

    XLA's convolution is used on other devices, with `lhs_dilation`, and for inputs that are not
    images (batch, height, width, channels).
    """
    if not use_cpu_forms() or images.ndim != 4 or any(d != 1 for d in lhs_dilation):
        return lax.conv_general_dilated(
            images,
            kernel,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            precision=precision,
        )
    if isinstance(padding, str):
        extents = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:2], rhs_dilation, strict=True)]
        padding = lax.padtype_to_pads(images.shape[1:3], extents, window_strides, padding)
    return _convolve(
        images,
        kernel,
        Window(
            tuple(window_strides),
            tuple(map(tuple, padding)),
            tuple(rhs_dilation),
            feature_group_count,
            precision,
        ),
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(images: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    return _form(images, kernel, window)(images, kernel, window)


def _forward(images, kernel, window):
    return _convolve(images, kernel, window), (images, kernel)


def _backward(window, residuals, gradient):
    images, kernel = residuals
    if window.groups > 1 or _form(images, kernel, window) is _banded:
        form = _form(images, kernel, window)
        (of_images,) = jax.linear_transpose(lambda x: form(x, kernel, window), images)(gradient)
    else:
        gradient = computed_once(gradient)  # read by both convolutions, transposed for the kernel
        of_images = _images_gradient(images, kernel, gradient, window)
    grey_to_few = images.shape[3] == 1 and kernel.shape[3] < _OUTPUTS_FOR_BANDS
    if window.groups > 1 or kernel.shape[:2] == (1, 1):
        of_kernel = _kernel_gradient_by_position(images, kernel, gradient, window)
    elif grey_to_few and _suits_bands(images, kernel, window):
        of_kernel = _kernel_gradient_of_bands(images, kernel, gradient, window)
    else:
        of_kernel = _kernel_gradient(images, kernel, gradient, window)
    return of_images, of_kernel


_convolve.defvjp(_forward, _backward)


def _form(images: jax.Array, kernel: jax.Array, window: Window) -> Callable:
    """The implementation that computes the outputs."""
    return _banded if _suits_bands(images, kernel, window) else _xla


def _xla(images: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    return lax.conv_general_dilated(
        images,
        kernel,
        window.strides,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=_NHWC,
        feature_group_count=window.groups,
        precision=window.precision,
    )


def _output_size(images: jax.Array, kernel: jax.Array, window: Window, axis: int) -> int:
    """The number of rows (axis 0) or columns (axis 1) of the outputs."""
    extent = (kernel.shape[axis] - 1) * window.dilation[axis] + 1
    padded = images.shape[1 + axis] + sum(window.padding[axis])
    return max(0, (padded - extent) // window.strides[axis] + 1)


# XLA's convolution is fast only for NHWC images and HWIO kernels. It converts other layouts at the
# top level of a program, but not inside a loop, where they are 10 to 90 times as slow. The two
# gradients, which are also convolutions, are therefore written in that layout.


def _images_gradient(images, kernel, gradient, window: Window) -> jax.Array:
    """The gradient of the outputs, dilated by the strides, convolved with the flipped kernel."""
    padding = []
    for axis in (0, 1):
        reach = (kernel.shape[axis] - 1) * window.dilation[axis]
        spread = (gradient.shape[1 + axis] - 1) * window.strides[axis] + 1
        before = reach - window.padding[axis][0]
        padding.append((before, images.shape[1 + axis] + reach - spread - before))
    return lax.conv_general_dilated(
        gradient,
        jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2),
        (1, 1),
        padding,
        lhs_dilation=window.strides,
        rhs_dilation=window.dilation,
        dimension_numbers=_NHWC,
        precision=window.precision,
    )


def _kernel_gradient(images, kernel, gradient, window: Window) -> jax.Array:
    """The images, channels and examples swapped, convolved with the gradient of the outputs."""
    padding = []
    for axis in (0, 1):
        reach = (kernel.shape[axis] - 1) * window.dilation[axis]
        spread = (gradient.shape[1 + axis] - 1) * window.strides[axis] + 1
        before = window.padding[axis][0]
        padding.append((before, reach + spread - images.shape[1 + axis] - before))
    positions = lax.conv_general_dilated(
        images.transpose(3, 1, 2, 0),
        gradient.transpose(1, 2, 0, 3),
        window.dilation,
        padding,
        rhs_dilation=window.strides,
        dimension_numbers=_NHWC,
        precision=window.precision,
    )
    return positions.transpose(1, 2, 0, 3)


def _kernel_gradient_by_position(images, kernel, gradient, window: Window) -> jax.Array:
    """For each kernel position, the product of the pixels it reads with the output gradient."""
    # No axis for a single group: with one, XLA writes a transposed copy of the gradient.
    groups = (window.groups,) if window.groups > 1 else ()
    batch, rows, columns, channels = gradient.shape
    pixels = batch * rows * columns
    (above, below), (left, right) = window.padding
    zero = jnp.zeros((), images.dtype)
    padding = ((0, 0, 0), (above, below, 0), (left, right, 0), (0, 0, 0))
    padded = lax.pad(images, zero, padding)
    gradient = gradient.reshape(pixels, *groups, channels // window.groups)
    products = []
    for row, column in np.ndindex(kernel.shape[:2]):
        top, start = row * window.dilation[0], column * window.dilation[1]
        met = padded[
            :,
            top : top + (rows - 1) * window.strides[0] + 1 : window.strides[0],
            start : start + (columns - 1) * window.strides[1] + 1 : window.strides[1],
        ]
        products.append(
            jnp.einsum(
                "n...i,n...o->i...o",
                met.reshape(pixels, *groups, images.shape[3] // window.groups),
                gradient,
                precision=window.precision,
            )
        )
    return jnp.stack(products).reshape(kernel.shape)


def _suits_bands(images: jax.Array, kernel: jax.Array, window: Window) -> bool:
    return (
        window.groups == 1
        and window.strides == window.dilation == (1, 1)
        and images.shape[3] < _CHANNELS_FOR_BANDS
        and _output_size(images, kernel, window, axis=0) > 0
        and _block(images, kernel, window) > 0
    )


def _block(images: jax.Array, kernel: jax.Array, window: Window) -> int:
    """The columns in a block of outputs; 0 if a row cannot be divided into such blocks.

    It is about the kernel's width, so that the zeros of the band and the pixels read by two blocks
    little more than double the work.
    """
    width, columns = kernel.shape[1], _output_size(images, kernel, window, axis=1)
    sizes = range(max(1, width - 1), 2 * width)
    return next((size for size in sizes if columns and columns % size == 0), 0)


def _banded(images: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The flattened pixels of each block, times a matrix with the kernel along its diagonals."""
    met = _met_by_blocks(images, kernel, window)
    bands = jnp.einsum(
        "pwc,rpio->rwico",
        _diagonals(images, kernel, window),
        kernel,
        precision=lax.Precision.HIGHEST,
    )
    outputs = jnp.matmul(met, bands.reshape(met.shape[-1], -1), precision=window.precision)
    return outputs.reshape(*met.shape[:2], -1, kernel.shape[3])


def _kernel_gradient_of_bands(images, kernel, gradient, window: Window) -> jax.Array:
    """The diagonals of the product of the pixels of each block with the output gradient."""
    height, _, channels, out = kernel.shape
    met, diagonals = _met_by_blocks(images, kernel, window), _diagonals(images, kernel, window)
    _, reach, block = diagonals.shape
    bands = jnp.matmul(
        met.reshape(-1, met.shape[-1]).T,
        gradient.reshape(-1, block * out),
        precision=window.precision,
    )
    return jnp.einsum(
        "pwc,rwico->rpio",
        diagonals,
        bands.reshape(height, reach, channels, block, out),
        precision=lax.Precision.HIGHEST,
    )


def _diagonals(images: jax.Array, kernel: jax.Array, window: Window) -> np.ndarray:
    """1 where a kernel column stands in the band: (kernel column, column read, output), else 0."""
    width, block = kernel.shape[1], _block(images, kernel, window)
    diagonals = [np.eye(block + width - 1, block, -position) for position in range(width)]
    return np.stack(diagonals).astype(kernel.dtype)


def _met_by_blocks(images: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The pixels that each block of outputs reads: (batch, rows, blocks, pixels and channels)."""
    height, width, channels, _ = kernel.shape
    rows, columns = (_output_size(images, kernel, window, axis) for axis in (0, 1))
    block = _block(images, kernel, window)
    reach = block + width - 1
    zero = jnp.zeros((), images.dtype)
    padded = lax.pad(images, zero, ((0, 0, 0), *((*pad, 0) for pad in window.padding), (0, 0, 0)))
    flat = padded.reshape(*padded.shape[:2], -1)
    met = [
        flat[:, :, start * channels : (start + reach) * channels]
        for start in range(0, columns, block)
    ]
    met = jnp.stack(met, axis=2)
    return jnp.concatenate([met[:, top : top + rows] for top in range(height)], axis=3)
