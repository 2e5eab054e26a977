"""Residual networks. He, Zhang, Ren, Sun 2016: Deep residual learning for image recognition."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.layers.activations import activation
from jaxcnn.layers.conv import Conv
from jaxcnn.layers.initializers import initializer
from jaxcnn.layers.norm import normalization
from jaxcnn.layers.pooling import global_average_pool


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut without parameters (option A of the paper).

    Where the block changes the shape, the shortcut takes every `stride`-th pixel and pads the new
    channels with zeros, half of them before and half after the old ones.
    """

    width: int
    stride: int
    conv: Callable
    norm: Callable
    act: Callable

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(self.width, strides=self.stride, name="conv1")(x)
        y = self.act(self.norm(name="norm1")(y))
        y = self.conv(self.width, name="conv2")(y)
        y = self.norm(name="norm2")(y)
        new_channels = self.width - x.shape[-1]
        shortcut = jnp.pad(
            x[:, :: self.stride, :: self.stride],
            ((0, 0), (0, 0), (0, 0), (new_channels // 2, new_channels - new_channels // 2)),
        )
        return self.act(y + shortcut)


class CifarResNet(nn.Module):
    """The paper's CIFAR networks: a 3×3 stem, three stages of 16, 32 and 64 channels, average pool.

    `stage_sizes=(n, n, n)` gives the network of 6n + 2 layers; n = 3, ResNet-20, has 269,722
    parameters for 10 classes. `remat` has the backward pass compute each block's inner activations
    again, in place of keeping them; on a CPU, XLA undoes that.
    """

    num_classes: int
    stage_sizes: Sequence[int] = (3, 3, 3)
    width: int = 16
    norm: str = "batch"
    activation: str = "relu"
    dropout_rate: float = 0.0
    remat: bool = False
    kernel_init: str = "he_normal_fan_out"
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        act, init = activation(self.activation), initializer(self.kernel_init)
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        norm = normalization(self.norm, train, **dtypes)

        def conv(width, strides=1, name=None):
            return Conv(
                width,
                (3, 3),
                strides=strides,
                padding=1,
                use_bias=False,
                kernel_init=init,
                name=name,
                **dtypes,
            )

        block_type = nn.remat(BasicBlock) if self.remat else BasicBlock
        x = act(norm(name="stem_norm")(conv(self.width, name="stem_conv")(images)))
        for stage, size in enumerate(self.stage_sizes):
            for block in range(size):
                x = block_type(
                    width=self.width * 2**stage,
                    stride=2 if stage > 0 and block == 0 else 1,
                    conv=conv,
                    norm=norm,
                    act=act,
                    name=f"stage{stage + 1}_block{block + 1}",
                )(x)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(global_average_pool(x))
        logits = nn.Dense(self.num_classes, name="head", **dtypes)(x)
        return logits.astype(jnp.promote_types(self.dtype, jnp.float32))
