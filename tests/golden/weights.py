"""Weights that are a formula of a tensor's name and shape, so that no file of them is needed."""

import zlib

import numpy as np


def uniform(name: str, count: int) -> np.ndarray:
    """`count` numbers in [0, 1), float32: MurmurHash3's finaliser of a counter that the name offsets."""
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(
        zlib.crc32(name.encode())
    )
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)).astype(np.float32) / np.float32(2**24)


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A torch state dict's tensor of that name: kernels with variance 2/fan_in, lively statistics."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    values = uniform(name, int(np.prod(shape))).reshape(shape)
    if len(shape) > 1:
        return (2 * values - 1) * np.float32(np.sqrt(6 / np.prod(shape[1:])))
    if name.endswith(("weight", "running_var")):  # scales and variances, around one
        return values + np.float32(0.5)
    return (values - np.float32(0.5)) * np.float32(0.4)


def images(count: int, size: int) -> np.ndarray:
    """(count, size, size, 3), uniform with mean 0 and variance 1."""
    flat = uniform("images", count * size * size * 3)
    return ((flat - 0.5) * np.float32(np.sqrt(12))).reshape(count, size, size, 3)


def samples(statistics: dict[str, np.ndarray]) -> np.ndarray:
    """Of each running statistic, by name, its mean and its first three numbers: (tensors, 4)."""
    return np.stack(
        [
            [values.mean(), *values[:3]]
            for name, values in sorted(statistics.items())
            if name.endswith(("running_mean", "running_var"))
        ]
    )
