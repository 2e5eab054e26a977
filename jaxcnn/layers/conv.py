"""The convolution that all models use."""

from collections.abc import Callable

import flax.linen as nn
import jax

from jaxcnn.cpu.conv import conv_general_dilated
from jaxcnn.errors import UserError
from jaxcnn.layout import Layout


class EmptyLayerError(UserError):
    """An image too small for the model: a layer's output would have no pixels."""

    def __init__(self, layer: str, height: int, width: int):
        super().__init__(f"layer '{layer}' would be empty ({height}×{width} pixels)")


def check_not_empty(layer: str, height: int, width: int) -> None:
    """Raises EmptyLayerError when a layer's output would have no pixels."""
    if height < 1 or width < 1:
        raise EmptyLayerError(layer, max(height, 0), max(width, 0))


def grouped_on(layout: Layout | None) -> Callable:
    """Returns `conv_general_dilated` for groups of channels; each device computes its own images.

    XLA's partitioner, on CPUs at least, does not split such a convolution by images: every device would
    gather the whole batch. The compiler for TPUs does.

    Args:
      layout: of the devices that share a batch; None: a single one.
    """
    if layout is None or layout.platform == "tpu":
        return conv_general_dilated

    def convolve(images: jax.Array, kernel: jax.Array, *window, **options) -> jax.Array:
        def of_some(images: jax.Array, kernel: jax.Array) -> jax.Array:
            return conv_general_dilated(images, kernel, *window, **options)

        divides = len(images) % layout.replicas == 0  # not the one image of initialisation
        return (layout.on_each_device(of_some) if divides else of_some)(images, kernel)

    return convolve


class Conv(nn.Conv):
    """`flax.linen.Conv` on NHWC images, fast on a CPU too, that refuses to return an empty output.

    Raises:
      EmptyLayerError: the image is smaller than the kernel reaches.
      UserError: the groups do not divide the channels.
    """

    conv_general_dilated: Callable = conv_general_dilated

    def __call__(self, images: jax.Array) -> jax.Array:
        groups, channels = self.feature_group_count, (images.shape[-1], self.features)
        if any(count % groups for count in channels):
            raise UserError(
                f"layer '{'/'.join(self.path)}': {groups} groups do not divide its "
                f"{channels[0]} channels in and {channels[1]} out"
            )
        outputs = super().__call__(images)
        check_not_empty("/".join(self.path), *outputs.shape[1:3])
        return outputs
