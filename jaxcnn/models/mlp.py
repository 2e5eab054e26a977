"""Softmax regression and the multilayer perceptron: the baselines that every CNN is held against."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.layers.activations import activation
from jaxcnn.layers.initializers import initializer


class MLP(nn.Module):
    """Fully connected layers on the flattened image; without `widths`, softmax regression.

    Parameters: Σ (fan_in + 1)·fan_out over the layers.
    """

    num_classes: int
    widths: Sequence[int] = (256, 128)
    activation: str = "relu"
    dropout_rate: float = 0.0
    kernel_init: str = "he_normal"
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        act = activation(self.activation)
        x = images.reshape(images.shape[0], -1)
        for i, width in enumerate(self.widths, start=1):
            x = nn.Dense(
                width, kernel_init=initializer(self.kernel_init), name=f"dense{i}", **dtypes
            )(x)
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(act(x))
        logits = nn.Dense(self.num_classes, name="head", **dtypes)(x)
        return logits.astype(jnp.promote_types(self.dtype, jnp.float32))
