"""The first network that a student writes: conv, norm, activation, pool, and again."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.layers.activations import activation
from jaxcnn.layers.conv import Conv
from jaxcnn.layers.initializers import initializer
from jaxcnn.layers.norm import normalization
from jaxcnn.layers.pooling import pool


class SimpleCNN(nn.Module):
    """A 3×3 convolution and a 2×2 pool per width, then one hidden layer and the logits."""

    num_classes: int
    widths: Sequence[int] = (32, 64)
    hidden: int = 128
    norm: str = "batch"
    activation: str = "relu"
    pooling: str = "max"
    dropout_rate: float = 0.0
    kernel_init: str = "he_normal"
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        act, init = activation(self.activation), initializer(self.kernel_init)
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        norm = normalization(self.norm, train, **dtypes)

        x = images
        for i, width in enumerate(self.widths, start=1):
            x = Conv(width, (3, 3), padding=1, kernel_init=init, name=f"conv{i}", **dtypes)(x)
            x = act(norm(name=f"norm{i}")(x))
            x = pool(x, self.pooling, window=2, name=f"pool{i}")
        x = x.reshape(x.shape[0], -1)
        x = act(nn.Dense(self.hidden, kernel_init=init, name="dense", **dtypes)(x))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        logits = nn.Dense(self.num_classes, name="head", **dtypes)(x)
        return logits.astype(jnp.promote_types(self.dtype, jnp.float32))
