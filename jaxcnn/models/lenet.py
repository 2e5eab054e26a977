"""LeNet-5. LeCun, Bottou, Bengio, Haffner 1998: Gradient-based learning applied to document
recognition."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.layers.activations import activation
from jaxcnn.layers.conv import Conv
from jaxcnn.layers.initializers import initializer
from jaxcnn.layers.pooling import pool


class LeNet5(nn.Module):
    """C1 6@5×5, S2, C3 16@5×5, S4, then 120, 84 and the logits.

    61,706 parameters for 10 classes of 32×32×1 images; 28×28 images are padded by 2, as MNIST's were.
    As in most code since, S2 and S4 have no weights, C3 sees all of S2's maps, and the output is
    linear. The paper's own units are `activation='tanh'`, `pooling='avg'`.
    """

    num_classes: int
    activation: str = "tanh"
    pooling: str = "avg"
    dropout_rate: float = 0.0
    kernel_init: str = "lecun_normal"
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        act, init = activation(self.activation), initializer(self.kernel_init)
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        padding = 2 if images.shape[1:3] == (28, 28) else 0

        x = Conv(6, (5, 5), padding=padding, kernel_init=init, name="c1", **dtypes)(images)
        x = pool(act(x), self.pooling, window=2, name="s2")
        x = Conv(16, (5, 5), padding=0, kernel_init=init, name="c3", **dtypes)(x)
        x = pool(act(x), self.pooling, window=2, name="s4")
        x = x.reshape(x.shape[0], -1)
        x = act(nn.Dense(120, kernel_init=init, name="c5", **dtypes)(x))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        x = act(nn.Dense(84, kernel_init=init, name="f6", **dtypes)(x))
        logits = nn.Dense(self.num_classes, name="head", **dtypes)(x)
        return logits.astype(jnp.promote_types(self.dtype, jnp.float32))
