"""Residual networks, and the plain ones beside them.

He, Zhang, Ren & Sun 2016, Deep residual learning for image recognition; with more channels inside,
Zagoruyko & Komodakis 2016, Wide residual networks; with groups, Xie et al. 2017, Aggregated residual
transformations for deep neural networks.
"""

from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError, check_choice
from jaxcnn.layers.kit import LayerKit
from jaxcnn.layers.pooling import global_average_pool
from jaxcnn.limits import AT_LEAST_1, FRACTION, each, one_of
from jaxcnn.models.classifier import Classifier, NormName

SHORTCUTS = ("projection", "pad", "none")
STEMS = ("imagenet", "cifar")
StemName = Annotated[str, one_of(STEMS)]


class Block(nn.Module):
    """Convolutions beside a shortcut; `width` is what the stage's 3×3 convolutions have.

    Where the block changes the shape, the shortcut is a 1×1 convolution (the paper's option B), or
    takes every `stride`-th pixel and pads the new channels with zeros, half of them before and half
    after the old ones (option A, without parameters). Without a shortcut the block is plain.
    """

    kit: LayerKit
    width: int
    stride: int
    shortcut: str
    last_scale_init: nn.initializers.Initializer
    drop_path_rate: float
    cardinality: int
    inner_factor: int
    stride_in_1x1: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.branch(x)
        if self.shortcut != "none":
            y = self.kit.drop_path(y, self.drop_path_rate) + self.identity(x, y.shape[-1])
        return self.kit.act(y)

    def identity(self, x: jax.Array, width: int) -> jax.Array:
        if self.stride == 1 and x.shape[-1] == width:
            return x
        if self.shortcut == "projection":
            x = self.kit.conv(width, 1, self.stride, name="shortcut_conv")(x)
            return self.kit.norm(name="shortcut_norm")(x)
        new = width - x.shape[-1]
        pixels = x[:, :: self.stride, :: self.stride]
        return jnp.pad(pixels, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))


class BasicBlock(Block):
    """Two 3×3 convolutions."""

    def branch(self, x: jax.Array) -> jax.Array:
        kit = self.kit
        y = kit.conv(self.width, 3, self.stride, name="conv1")(x)
        y = kit.act(kit.norm(name="norm1")(y))
        y = kit.conv(self.width, 3, name="conv2")(y)
        return kit.norm(name="norm2", scale_init=self.last_scale_init)(y)


class Bottleneck(Block):
    """1×1 to `inner_factor` times the width, 3×3 there in groups, 1×1 to four times the width."""

    def branch(self, x: jax.Array) -> jax.Array:
        kit, inner = self.kit, self.width * self.inner_factor
        first, second = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
        y = kit.conv(inner, 1, first, name="conv1")(x)
        y = kit.act(kit.norm(name="norm1")(y))
        y = kit.conv(inner, 3, second, groups=self.cardinality, name="conv2")(y)
        y = kit.act(kit.norm(name="norm2")(y))
        y = kit.conv(4 * self.width, 1, name="conv3")(y)
        return kit.norm(name="norm3", scale_init=self.last_scale_init)(y)


class ResNet(Classifier):
    """A residual network: a stem, stages of blocks, average pool, the head.

    Each stage has half the size and twice the width of the one before. The 'imagenet' stem divides
    the size by four (7×7/2, then a 3×3/2 maximum); the 'cifar' stem is one 3×3 convolution. A
    bottleneck's stride is in its 3×3 convolution, as in torchvision and most code since;
    `stride_in_1x1` puts it where the paper had it. `zero_init_residual` lets every block begin as
    its shortcut (Goyal et al. 2017). `drop_path_rate` is the last block's; the others' grow to it
    linearly. `remat` makes the backward pass recompute each block's inner activations, to save
    memory; on a CPU, XLA undoes that.
    """

    norm: NormName = "batch"
    kernel_init: str = "he_normal_fan_out"
    stage_sizes: Annotated[Sequence[int], each(AT_LEAST_1)] = (2, 2, 2, 2)
    width: Annotated[int, AT_LEAST_1] = 64
    bottleneck: bool = False
    cardinality: Annotated[int, AT_LEAST_1] = 1
    inner_factor: Annotated[int, AT_LEAST_1] = 1
    stem: StemName = "imagenet"
    shortcut: Annotated[str, one_of(SHORTCUTS)] = "projection"
    stride_in_1x1: bool = False
    zero_init_residual: bool = False
    drop_path_rate: Annotated[float, FRACTION] = 0.0
    remat: bool = False

    TRAINING_ONLY = Classifier.TRAINING_ONLY | {"drop_path_rate", "remat", "zero_init_residual"}

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        self.check_settings()
        kit = self.kit(train)
        block_type = Bottleneck if self.bottleneck else BasicBlock
        block_type = nn.remat(block_type) if self.remat else block_type

        x = resnet_stem(kit, images, self.width, self.stem)
        if self.stem == "imagenet":
            x = kit.norm_act_maximum(x, "stem_norm", 3, 2, padding=1, name="stem_pool")
        else:
            x = kit.act(kit.norm(name="stem_norm")(x))
        self.endpoint("stem", x)
        done, blocks = 0, sum(self.stage_sizes)
        for stage, size in enumerate(self.stage_sizes, start=1):
            for block in range(1, size + 1):
                done += 1
                x = block_type(
                    kit=kit,
                    width=self.width * 2 ** (stage - 1),
                    stride=2 if stage > 1 and block == 1 else 1,
                    shortcut=self.shortcut,
                    last_scale_init=last_scale_init(self.zero_init_residual, kit),
                    drop_path_rate=self.drop_path_rate * done / blocks,
                    cardinality=self.cardinality,
                    inner_factor=self.inner_factor,
                    stride_in_1x1=self.stride_in_1x1,
                    name=f"stage{stage}_block{block}",
                )(x)
            self.endpoint(f"stage{stage}", x)
        x = self.endpoint("pre_logits", global_average_pool(x))
        return self.head(kit, kit.dropout(x, self.dropout_rate))

    def check_settings(self) -> None:
        """Raises UserError for settings that have no effect together, or a harmful one."""
        check_choice("shortcut", self.shortcut, SHORTCUTS)
        if self.shortcut == "none" and (self.zero_init_residual or self.drop_path_rate):
            raise UserError(
                "zero_init_residual and drop_path_rate need a shortcut; with shortcut='none' they must "
                "be False and 0"
            )
        if not self.bottleneck and (self.cardinality, self.inner_factor, self.stride_in_1x1) != (
            1,
            1,
            False,
        ):
            raise UserError(
                "cardinality, inner_factor and stride_in_1x1 are settings of bottlenecks; with "
                "bottleneck=False they must be 1, 1 and False"
            )


def resnet_stem(kit: LayerKit, images: jax.Array, width: int, stem: str) -> jax.Array:
    """The first convolution: 7×7 with stride 2 for large images, 3×3 for small ones."""
    check_choice("stem", stem, STEMS)
    if stem == "imagenet":
        return kit.conv(width, 7, 2, name="stem_conv")(images)
    return kit.conv(width, 3, name="stem_conv")(images)


def last_scale_init(zero: bool, kit: LayerKit) -> nn.initializers.Initializer:
    """How the scale of a residual branch's last normalisation begins."""
    if zero and not kit.has_norm:
        raise UserError(
            "zero_init_residual=True needs a norm whose scale begins at zero, not 'none'"
        )
    return nn.initializers.zeros_init() if zero else nn.initializers.ones_init()
