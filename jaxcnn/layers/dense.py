"""A fully connected layer that can slide over a larger image."""

import flax.linen as nn
import jax

from jaxcnn.layers.conv import check_not_empty


class WindowDense(nn.Module):
    """`flax.linen.Dense` on each window of the image, flattened: a convolution with Dense's weights.

    Variables: `kernel` (window·window·channels, width) and `bias` (width,), as those of a Dense
      layer on an image of just the window's size. So what was trained on that size runs on larger
      ones, in one pass (Sermanet et al. 2014).

    Raises:
      EmptyLayerError: the image is smaller than the window.
    """

    width: int
    window: int
    kernel_init: nn.initializers.Initializer
    bias_init: nn.initializers.Initializer
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """(batch, height, width, channels) → (batch, height − window + 1, …, width)."""
        _, height, width, channels = images.shape
        over = self.window - 1
        check_not_empty("/".join(self.path), height - over, width - over)
        flat = (self.window * self.window * channels, self.width)
        kernel = self.param("kernel", self.kernel_init, flat, self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.width,), self.param_dtype)
        images, kernel, bias = nn.dtypes.promote_dtype(images, kernel, bias, dtype=self.dtype)
        if over == 0 or (height, width) == (self.window, self.window):
            rows = images.reshape(-1, height - over, width - over, flat[0])
            return rows @ kernel + bias
        kernel = kernel.reshape(self.window, self.window, channels, self.width)
        outputs = jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return outputs + bias
