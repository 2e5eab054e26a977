"""The array operations used by augmentations, for NumPy, TensorFlow and JAX.

An augmentation is one function of arrays. It runs in tf.data on the host, in NumPy if TensorFlow
is not installed, and in JAX inside a compiled program. Everything it uses beyond arithmetic and
comparison is defined here.
"""

from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from jaxcnn.tensorflow import tensorflow

Array = Any  # an array of any of the libraries


class Arrays(Protocol):
    """One library's operations, with NumPy's names and semantics where they exist."""

    def float32(self, x) -> Array: ...
    def int32(self, x) -> Array: ...
    def uint8(self, x) -> Array: ...
    def floor(self, x) -> Array: ...
    def round(self, x) -> Array: ...  # halves to even
    def clip(self, x, low, high) -> Array: ...
    def minimum(self, x, y) -> Array: ...
    def maximum(self, x, y) -> Array: ...
    def where(self, condition, x, y) -> Array: ...
    def stack(self, parts, axis) -> Array: ...
    def concatenate(self, parts, axis) -> Array: ...
    def reshape(self, x, shape) -> Array: ...
    def flip(self, x, axis) -> Array: ...
    def transpose(self, x, axes) -> Array: ...
    def cos(self, x) -> Array: ...
    def sin(self, x) -> Array: ...
    def exp(self, x) -> Array: ...
    def log(self, x) -> Array: ...
    def sqrt(self, x) -> Array: ...
    def sum(self, x, axis) -> Array: ...
    def min(self, x, axis) -> Array: ...
    def max(self, x, axis) -> Array: ...
    def cumsum(self, x) -> Array: ...  # along the last axis
    def take(self, x, index) -> Array:
        """x[b, index[b, i]] for each b and i: (batch, n, …), (batch, m) → (batch, m, …)."""

    def histogram(self, x) -> Array:
        """The counts of 0 … 255 in each row: int32 (rows, n) → int32 (rows, 256)."""


class _LikeNumPy:
    """NumPy or JAX, which share function names."""

    def __init__(self, library):
        self._library = library
        for name in (
            "floor", "round", "clip", "minimum", "maximum", "where", "stack", "concatenate", "reshape",
            "flip", "transpose", "cos", "sin", "exp", "log", "sqrt", "min", "max",
        ):  # fmt: skip
            setattr(self, name, getattr(library, name))

    def float32(self, x):
        return self._library.asarray(x, np.float32)

    def int32(self, x):
        return self._library.asarray(x).astype(np.int32)

    def uint8(self, x):
        return self._library.asarray(x).astype(np.uint8)

    def sum(self, x, axis):
        return self._library.sum(x, axis)

    def cumsum(self, x):
        return self._library.cumsum(x, axis=-1)

    def take(self, x, index):
        index = index.reshape(*index.shape, *(1,) * (x.ndim - 2))
        return self._library.take_along_axis(x, index, axis=1)

    def histogram(self, x):
        rows = 256 * self._library.arange(len(x))[:, None]
        counts = self._library.bincount((x + rows).ravel(), **self._length(256 * len(x)))
        return counts.reshape(len(x), 256).astype(np.int32)

    def _length(self, length: int) -> dict:
        # JAX needs a static output length to trace.
        return {"length": length} if self._library is jnp else {"minlength": length}


class _TensorFlow:
    def __init__(self):
        tf = self._tf = tensorflow("augmentation in tf.data")
        self.floor, self.round, self.clip = tf.floor, tf.round, tf.clip_by_value
        self.minimum, self.maximum, self.where = tf.minimum, tf.maximum, tf.where
        self.stack, self.concatenate, self.reshape = tf.stack, tf.concat, tf.reshape
        self.transpose, self.cos, self.sin = tf.transpose, tf.cos, tf.sin
        self.exp, self.log, self.sqrt = tf.exp, tf.math.log, tf.sqrt
        self.sum, self.min, self.max = tf.reduce_sum, tf.reduce_min, tf.reduce_max

    def float32(self, x):
        return self._tf.cast(x, self._tf.float32)

    def int32(self, x):
        return self._tf.cast(x, self._tf.int32)

    def uint8(self, x):
        return self._tf.cast(x, self._tf.uint8)

    def flip(self, x, axis):
        return self._tf.reverse(x, [axis])

    def cumsum(self, x):
        return self._tf.cumsum(x, axis=-1)

    def take(self, x, index):
        return self._tf.gather(x, index, batch_dims=1)

    def histogram(self, x):
        # Not tf.math.bincount, which XLA does not compile.
        tf, rows = self._tf, x.shape[0]
        flat = tf.reshape(x + 256 * tf.range(rows)[:, None], [-1])
        counts = tf.math.unsorted_segment_sum(tf.ones_like(flat), flat, 256 * rows)
        return tf.reshape(counts, (rows, 256))


numpy_arrays: Arrays = _LikeNumPy(np)
jax_arrays: Arrays = _LikeNumPy(jnp)


def tensorflow_arrays() -> Arrays:
    """TensorFlow's operations; imports TensorFlow on the first call."""
    return _TensorFlow()
