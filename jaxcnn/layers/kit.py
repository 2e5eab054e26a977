"""The layers of one network, from the settings that they share."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import flax.linen as nn
import jax

from jaxcnn.layers.conv import Conv, conv_general_dilated, grouped_on
from jaxcnn.layers.dense import WindowDense
from jaxcnn.layout import Layout

ZEROS = nn.initializers.zeros_init()


@dataclass(frozen=True)
class LayerKit:
    """Makes a network's layers from the settings that they share; each block gets the kit.

    `act` and `norm` are what `activation` and `normalization` return. A convolution has a bias only
    where the network has no normalisation, which would cancel it. `layout` is that of several devices
    which share a batch; None on a single one.
    """

    act: Callable[[jax.Array], jax.Array]
    norm: Callable[..., Callable]
    has_norm: bool
    kernel_init: nn.initializers.Initializer
    train: bool
    dtype: str
    param_dtype: str
    layout: Layout | None = None

    def beginning_with(self, kernel_init: nn.initializers.Initializer) -> "LayerKit":
        """The same kit with another initialiser."""
        return replace(self, kernel_init=kernel_init)

    def conv(
        self,
        width: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] | None = None,
        groups: int = 1,
        use_bias: bool | None = None,
        bias_init: nn.initializers.Initializer = ZEROS,
        *,
        name: str,
    ) -> Conv:
        """A convolution to `width` channels; at stride 1, the default padding keeps the size."""
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        convolve = grouped_on(self.layout) if groups > 1 and self.layout else conv_general_dilated
        return Conv(
            width,
            kernel,
            strides=stride,
            padding=tuple(k // 2 for k in kernel) if padding is None else padding,
            feature_group_count=groups,
            use_bias=not self.has_norm if use_bias is None else use_bias,
            bias_init=bias_init,
            kernel_init=self.kernel_init,
            conv_general_dilated=convolve,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def dense(
        self,
        width: int,
        kernel_init: nn.initializers.Initializer | None = None,
        *,
        name: str,
    ) -> nn.Dense:
        """A fully connected layer."""
        return nn.Dense(
            width,
            kernel_init=kernel_init or self.kernel_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def window_dense(
        self, width: int, window: int, bias_init: nn.initializers.Initializer, *, name: str
    ) -> WindowDense:
        """A fully connected layer on every window × window pixels."""
        return WindowDense(
            width,
            window,
            kernel_init=self.kernel_init,
            bias_init=bias_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def dropout(self, x: jax.Array, rate: float) -> jax.Array:
        """In training, zeroes numbers with probability `rate` and scales the others by 1/(1 − rate).

        Srivastava et al. 2014, inverted: outside training nothing is done.
        """
        return nn.Dropout(rate, deterministic=not self.train)(x)

    def drop_path(self, x: jax.Array, rate: float) -> jax.Array:
        """Dropout of whole examples: stochastic depth, Huang et al. 2016."""
        return nn.Dropout(rate, broadcast_dims=(1, 2, 3), deterministic=not self.train)(x)
