"""The layers of one network, from the settings that they share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import flax.linen as nn
import jax

from jaxcnn.cpu.forms import use_accelerator_forms
from jaxcnn.layers.conv import Conv, conv_general_dilated, grouped_on
from jaxcnn.layers.dense import WindowDense
from jaxcnn.layers.pooling import pool
from jaxcnn.layout import Layout

Maxima = Callable[[jax.Array], jax.Array]

ZEROS = nn.initializers.zeros_init()


@dataclass(frozen=True)
class LayerKit:
    """Makes a network's layers from the settings that they share; each block gets the kit.

    `act` and `norm` are what `activation` and `normalization` return. A convolution has a bias only
    where the network has no normalisation, which would cancel it. `keeps_order` says that norm and
    activation keep or reverse the order of each channel's values: the norm is by batch or there is
    none, and the activation never falls. `layout` is that of several devices which share a batch; None
    on a single one.
    """

    act: Callable[[jax.Array], jax.Array]
    norm: Callable[..., Callable]
    has_norm: bool
    keeps_order: bool
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
        convolve = grouped_on(self.layout) if groups > 1 else conv_general_dilated
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

    def norm_act_maximum(
        self,
        x: jax.Array,
        norm: str,
        window: int,
        stride: int | None = None,
        padding: int = 0,
        *,
        name: str,
    ) -> jax.Array:
        """Norm, activation and maximum over square windows, the maximum first if `pools_first`.

        Args:
          norm: the name of the normalisation.
          name: that of the pooling.
        """
        maxima = partial(pool, kind="max", window=window, stride=stride, padding=padding, name=name)
        if self.pools_first:
            return self.norm_act(x, norm, maxima)
        return maxima(self.norm_act(x, norm))

    def norm_act(self, x: jax.Array, norm: str, maxima: Maxima | None = None) -> jax.Array:
        """Norm and activation; with `maxima`, of the maxima that it takes, if `pools_first`."""
        if maxima is None:
            return self.act(self.norm(name=norm)(x))
        return self.act(self.norm(name=norm)(x, maxima) if self.has_norm else maxima(x))

    @property
    def pools_first(self) -> bool:
        """Whether a maximum over pixels had better be taken before norm and activation than after.

        Where these keep the order of a channel's values, the numbers are the same, to rounding, and
        only the maxima are normalised. That moves fewer bytes on an accelerator; on a CPU it is not
        faster (docs/performance.md).
        """
        return self.keeps_order and use_accelerator_forms()

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
