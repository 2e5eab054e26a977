"""AlexNet, in its two shapes, and ZFNet."""

from functools import partial
from typing import Annotated

import flax.linen as nn
import jax

from jaxcnn.layers.kit import LayerKit
from jaxcnn.layers.lrn import local_response_norm
from jaxcnn.layers.pooling import pool
from jaxcnn.limits import AT_LEAST_1
from jaxcnn.models.classifier import FullyConnectedClassifier


class AlexNet(FullyConnectedClassifier):
    """Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks; torchvision's.

    Five convolutions of 64, 192, 384, 256 and 256 channels, three 3×3/2 maxima, two hidden layers.
    """

    # Max pooling raises the activations: with He's initialiser the first logits deviate by 8.
    kernel_init: str = "lecun_normal"
    pool_size: Annotated[int, AT_LEAST_1] = 6

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        kit = self.kit(train)
        conv = partial(_conv, kit)

        x = pool(conv(images, 1, 64, 11, 4, padding=2), "max", 3, 2, name="pool1")
        self.endpoint("stem", x)
        x = pool(conv(x, 2, 192, 5), "max", 3, 2, name="pool2")
        self.endpoint("stage1", x)
        x = conv(x, 3, 384, 3)
        x = conv(x, 4, 256, 3)
        x = pool(conv(x, 5, 256, 3), "max", 3, 2, name="pool5")
        return self.fully_connected(kit, self.endpoint("stage2", x), dropout_first=True)


class AlexNet2012(FullyConnectedClassifier):
    """Krizhevsky, Sutskever & Hinton 2012, ImageNet classification with deep CNNs.

    Convolutions 2, 4 and 5 have two groups: in the paper each GPU held one half of the channels.
    Local response normalisation follows the first two, then an overlapping 3×3/2 maximum. The paper
    says 224×224, but its sizes (55, 27, 13, 6) are those of 227×227 pixels. Biases begin at one
    where the paper says so.
    """

    kernel_init: str = "normal_0.01"
    head_init: str = "normal_0.01"
    pool_size: Annotated[int, AT_LEAST_1] = 6

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        kit = self.kit(train)
        conv = partial(_conv, kit)

        x = local_response_norm(conv(images, 1, 96, 11, 4, padding=0), name="lrn1")
        x = self.endpoint("stem", pool(x, "max", 3, 2, name="pool1"))
        x = local_response_norm(conv(x, 2, 256, 5, groups=2, bias=1.0), name="lrn2")
        x = self.endpoint("stage1", pool(x, "max", 3, 2, name="pool2"))
        x = conv(x, 3, 384, 3)
        x = conv(x, 4, 384, 3, groups=2, bias=1.0)
        x = conv(x, 5, 256, 3, groups=2, bias=1.0)
        x = self.endpoint("stage2", pool(x, "max", 3, 2, name="pool5"))
        return self.fully_connected(kit, x, dropout_first=False, bias=1.0)


class ZFNet(FullyConnectedClassifier):
    """Zeiler & Fergus 2014, Visualizing and understanding convolutional networks.

    AlexNet with smaller first filters, 7×7/2 and then 5×5/2, and without groups. Its contrast
    normalisation is taken to be AlexNet's local response normalisation, as in most code since.
    """

    kernel_init: str = "normal_0.01"
    head_init: str = "normal_0.01"
    pool_size: Annotated[int, AT_LEAST_1] = 6

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        kit = self.kit(train)
        conv = partial(_conv, kit)

        x = conv(images, 1, 96, 7, 2, padding=1)
        x = local_response_norm(pool(x, "max", 3, 2, padding=1, name="pool1"), name="lrn1")
        x = conv(self.endpoint("stem", x), 2, 256, 5, 2, padding=0)
        x = local_response_norm(pool(x, "max", 3, 2, padding=1, name="pool2"), name="lrn2")
        x = conv(self.endpoint("stage1", x), 3, 384, 3)
        x = conv(x, 4, 384, 3)
        x = pool(conv(x, 5, 256, 3), "max", 3, 2, name="pool5")
        return self.fully_connected(kit, self.endpoint("stage2", x), dropout_first=False)


def _conv(
    kit: LayerKit,
    x: jax.Array,
    i: int,
    width: int,
    kernel: int,
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
    bias: float = 0.0,
) -> jax.Array:
    """Convolution i, its norm where there is one, and the activation."""
    bias_init = nn.initializers.constant(bias)
    conv = kit.conv(
        width, kernel, stride, padding, groups, use_bias=True, bias_init=bias_init, name=f"conv{i}"
    )
    return kit.act(kit.norm(name=f"norm{i}")(conv(x)))
