"""Residual networks whose blocks normalise before they convolve, and the wide ones.

He, Zhang, Ren & Sun 2016, Identity mappings in deep residual networks; Zagoruyko & Komodakis 2016,
Wide residual networks.
"""

from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax

from jaxcnn.cpu.forms import computed_once
from jaxcnn.layers.kit import LayerKit
from jaxcnn.layers.pooling import global_average_pool, pool
from jaxcnn.limits import AT_LEAST_1, FRACTION, each
from jaxcnn.models.classifier import Classifier, NormName
from jaxcnn.models.resnet import StemName, resnet_stem


class PreActBlock(nn.Module):
    """Norm, activation, convolution, repeated, beside a shortcut that is an unobstructed identity.

    Basic: 3×3, 3×3. Bottleneck: 1×1, 3×3, 1×1 to four times the width. Where the block changes the
    shape, the shortcut is a 1×1 convolution of the normalised and activated input.
    """

    kit: LayerKit
    width: int
    stride: int
    bottleneck: bool
    last_kernel_init: nn.initializers.Initializer
    dropout_rate: float
    drop_path_rate: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kit, width = self.kit, self.width
        convolutions = (
            [(width, 1, 1), (width, 3, self.stride), (4 * width, 1, 1)]
            if self.bottleneck
            else [(width, 3, self.stride), (width, 3, 1)]
        )
        out = convolutions[-1][0]
        y = kit.act(kit.norm(name="norm1")(x))
        if self.stride > 1 or x.shape[-1] != out:
            x = kit.conv(out, 1, self.stride, name="shortcut_conv")(y)
        for i, convolution in enumerate(convolutions, start=1):
            if i > 1:
                y = kit.act(kit.norm(name=f"norm{i}")(y))
            if i == len(convolutions):
                y = kit.dropout(y, self.dropout_rate)
                kit = kit.beginning_with(self.last_kernel_init)
            y = kit.conv(*convolution, name=f"conv{i}")(y)
        return computed_once(x + kit.drop_path(y, self.drop_path_rate))


class PreActResNet(Classifier):
    """A pre-activation residual network: a stem, stages, a last norm, average pool, the head.

    With 'imagenet' stem the convolution is 7×7/2, then a 3×3/2 maximum; with 'cifar' it is 3×3. The
    stages are `widen_factor` times as wide as `width`, 2·`width`, …; the stem is not.
    `dropout_rate` acts before each block's last convolution, as in wide residual networks.
    `zero_init_residual` begins each block's last kernel at zero, since no norm follows it.
    `drop_path_rate` and `remat` are as in `ResNet`.
    """

    norm: NormName = "batch"
    kernel_init: str = "he_normal_fan_out"
    stage_sizes: Annotated[Sequence[int], each(AT_LEAST_1)] = (2, 2, 2, 2)
    width: Annotated[int, AT_LEAST_1] = 64
    widen_factor: Annotated[int, AT_LEAST_1] = 1
    bottleneck: bool = False
    stem: StemName = "imagenet"
    zero_init_residual: bool = False
    drop_path_rate: Annotated[float, FRACTION] = 0.0
    remat: bool = False

    TRAINING_ONLY = Classifier.TRAINING_ONLY | {"drop_path_rate", "remat", "zero_init_residual"}

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        kit = self.kit(train)
        block_type = nn.remat(PreActBlock) if self.remat else PreActBlock
        zeros = nn.initializers.zeros_init()

        x = resnet_stem(kit, images, self.width, self.stem)
        if self.stem == "imagenet":
            x = pool(x, "max", 3, 2, padding=1, name="stem_pool")
        self.endpoint("stem", x)
        done, blocks = 0, sum(self.stage_sizes)
        for stage, size in enumerate(self.stage_sizes, start=1):
            for block in range(1, size + 1):
                done += 1
                x = block_type(
                    kit=kit,
                    width=self.width * self.widen_factor * 2 ** (stage - 1),
                    stride=2 if stage > 1 and block == 1 else 1,
                    bottleneck=self.bottleneck,
                    last_kernel_init=zeros if self.zero_init_residual else kit.kernel_init,
                    dropout_rate=self.dropout_rate,
                    drop_path_rate=self.drop_path_rate * done / blocks,
                    name=f"stage{stage}_block{block}",
                )(x)
            self.endpoint(f"stage{stage}", x)
        x = kit.act(kit.norm(name="norm")(x))
        x = self.endpoint("pre_logits", global_average_pool(x))
        return self.head(kit, x)
