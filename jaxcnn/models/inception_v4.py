"""Inception v4 and Inception-ResNet v2.

Szegedy, Ioffe, Vanhoucke & Alemi 2017, Inception-v4, Inception-ResNet and the impact of residual
connections on learning. Inception-ResNet v2 follows the authors' code, which the published weights are
for.
"""

from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax

from jaxcnn.errors import UserError
from jaxcnn.layers.kit import LayerKit
from jaxcnn.layers.pooling import global_average_pool
from jaxcnn.limits import AT_LEAST_1, FRACTION, POSITIVE, each
from jaxcnn.models.classifier import Classifier, NormName
from jaxcnn.models.inception import Branch, C, ConvNorm, Inception, P, halved

_ROW, _COLUMN = (1, 7), (7, 1)
_HALVED = [P("max", 3, 2, padding=0)]


def three_stages(stage_sizes: Sequence[int]) -> Sequence[int]:
    """The sizes, if there are three; raises UserError otherwise."""
    if len(stage_sizes) != 3:
        raise UserError(f"stage_sizes={tuple(stage_sizes)} must be three numbers, one per stage")
    return stage_sizes


class InceptionV4(Classifier):
    """For 299×299 pixels: a branched stem; 4, 7 and 3 modules at 35×35, 17×17 and 8×8."""

    norm: NormName = "batch"
    norm_epsilon: Annotated[float, POSITIVE] = 1e-3
    dropout_rate: Annotated[float, FRACTION] = 0.2
    stage_sizes: Annotated[Sequence[int], each(AT_LEAST_1)] = (4, 7, 3)
    remat: bool = False

    TRAINING_ONLY = Classifier.TRAINING_ONLY | {"remat"}

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        kit = self.kit(train)
        module_type = nn.remat(Inception) if self.remat else Inception

        def inception(x, name, branches):
            return module_type(kit, branches, name=name)(x)

        x = ConvNorm(kit, C(32, 3, 2, padding=0), name="stem_conv1")(images)
        x = ConvNorm(kit, C(32, 3, padding=0), name="stem_conv2")(x)
        x = ConvNorm(kit, C(64, 3), name="stem_conv3")(x)
        x = inception(x, "stem_mixed1", _STEM_1)
        x = inception(x, "stem_mixed2", _STEM_2)
        x = inception(x, "stem_mixed3", _STEM_3)
        self.endpoint("stem", x)
        first, second, third = three_stages(self.stage_sizes)
        for block in range(1, first + 1):
            x = inception(x, f"stage1_block{block}", _A)
        x = inception(self.endpoint("stage1", x), "reduction1", _REDUCTION_A)
        for block in range(1, second + 1):
            x = inception(x, f"stage2_block{block}", _B)
        x = inception(self.endpoint("stage2", x), "reduction2", _REDUCTION_B)
        for block in range(1, third + 1):
            x = inception(x, f"stage3_block{block}", _C)
        x = global_average_pool(self.endpoint("stage3", x))
        return self.head(kit, kit.dropout(self.endpoint("pre_logits", x), self.dropout_rate))


class ResidualInception(nn.Module):
    """Branches, a 1×1 convolution back to the input's width, `scale` of it added to the input."""

    kit: LayerKit
    branches: dict[str, Branch]
    scale: float
    drop_path_rate: float
    zero_init: bool
    is_last: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = Inception(self.kit, self.branches, name="branches")(x)
        kit = self.kit.beginning_with(nn.initializers.zeros_init()) if self.zero_init else self.kit
        y = kit.conv(x.shape[-1], 1, use_bias=True, name="conv")(y)
        x = x + self.scale * self.kit.drop_path(y, self.drop_path_rate)
        return x if self.is_last else self.kit.act(x)


class InceptionResNetV2(Classifier):
    """For 299×299 pixels: 10, 20 and 10 residual modules at 35×35, 17×17 and 8×8.

    The last module's branch is not scaled, and no activation follows it. `zero_init_residual` starts
    each module's last kernel at zero, since no norm follows it.
    """

    norm: NormName = "batch"
    norm_epsilon: Annotated[float, POSITIVE] = 1e-3
    dropout_rate: Annotated[float, FRACTION] = 0.2
    stage_sizes: Annotated[Sequence[int], each(AT_LEAST_1)] = (10, 20, 10)
    zero_init_residual: bool = False
    drop_path_rate: Annotated[float, FRACTION] = 0.0
    remat: bool = False

    TRAINING_ONLY = Classifier.TRAINING_ONLY | {"drop_path_rate", "remat", "zero_init_residual"}

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        kit = self.kit(train)
        block_type = nn.remat(ResidualInception) if self.remat else ResidualInception
        first, second, third = three_stages(self.stage_sizes)
        done, blocks = 0, first + second + third

        def residual(x, name, branches, scale):
            nonlocal done
            done += 1
            return block_type(
                kit,
                branches,
                1.0 if done == blocks else scale,
                self.drop_path_rate * done / blocks,
                self.zero_init_residual,
                is_last=done == blocks,
                name=name,
            )(x)

        x = ConvNorm(kit, C(32, 3, 2, padding=0), name="stem_conv1")(images)
        x = ConvNorm(kit, C(32, 3, padding=0), name="stem_conv2")(x)
        x = halved(ConvNorm(kit, C(64, 3), name="stem_conv3"), x, name="stem_pool1")
        x = ConvNorm(kit, C(80, 1), name="stem_conv4")(x)
        x = halved(ConvNorm(kit, C(192, 3, padding=0), name="stem_conv5"), x, name="stem_pool2")
        self.endpoint("stem", x)
        x = Inception(kit, _RESNET_5B, name="mixed5b")(x)
        for block in range(1, first + 1):
            x = residual(x, f"stage1_block{block}", _BLOCK_35, 0.17)
        x = Inception(kit, _RESNET_6A, name="reduction1")(self.endpoint("stage1", x))
        for block in range(1, second + 1):
            x = residual(x, f"stage2_block{block}", _BLOCK_17, 0.10)
        x = Inception(kit, _RESNET_7A, name="reduction2")(self.endpoint("stage2", x))
        for block in range(1, third + 1):
            x = residual(x, f"stage3_block{block}", _BLOCK_8, 0.20)
        x = ConvNorm(kit, C(1536, 1), name="conv7b")(x)
        x = global_average_pool(self.endpoint("stage3", x))
        return self.head(kit, kit.dropout(self.endpoint("pre_logits", x), self.dropout_rate))


# --- the modules of Inception v4 ---

_STEM_1 = {"branch0": _HALVED, "branch1": [C(96, 3, 2, padding=0)]}
_STEM_2 = {
    "branch0": [C(64, 1), C(96, 3, padding=0)],
    "branch1": [C(64, 1), C(64, _ROW), C(64, _COLUMN), C(96, 3, padding=0)],
}
_STEM_3 = {"branch0": [C(192, 3, 2, padding=0)], "branch1": _HALVED}
_A = {
    "branch0": [C(96, 1)],
    "branch1": [C(64, 1), C(96, 3)],
    "branch2": [C(64, 1), C(96, 3), C(96, 3)],
    "branch3": [P("avg_unpadded"), C(96, 1)],
}
_REDUCTION_A = {
    "branch0": [C(384, 3, 2, padding=0)],
    "branch1": [C(192, 1), C(224, 3), C(256, 3, 2, padding=0)],
    "branch2": _HALVED,
}
_B = {
    "branch0": [C(384, 1)],
    "branch1": [C(192, 1), C(224, _ROW), C(256, _COLUMN)],
    "branch2": [C(192, 1), C(192, _COLUMN), C(224, _ROW), C(224, _COLUMN), C(256, _ROW)],
    "branch3": [P("avg_unpadded"), C(128, 1)],
}
_REDUCTION_B = {
    "branch0": [C(192, 1), C(192, 3, 2, padding=0)],
    "branch1": [C(256, 1), C(256, _ROW), C(320, _COLUMN), C(320, 3, 2, padding=0)],
    "branch2": _HALVED,
}
_C = {
    "branch0": [C(256, 1)],
    "branch1": [C(384, 1), (C(256, (1, 3)), C(256, (3, 1)))],
    "branch2": [C(384, 1), C(448, (3, 1)), C(512, (1, 3)), (C(256, (1, 3)), C(256, (3, 1)))],
    "branch3": [P("avg_unpadded"), C(256, 1)],
}

# --- the modules of Inception-ResNet v2 ---

_RESNET_5B = {
    "branch0": [C(96, 1)],
    "branch1": [C(48, 1), C(64, 5)],
    "branch2": [C(64, 1), C(96, 3), C(96, 3)],
    "branch3": [P("avg_unpadded"), C(64, 1)],
}
_BLOCK_35 = {
    "branch0": [C(32, 1)],
    "branch1": [C(32, 1), C(32, 3)],
    "branch2": [C(32, 1), C(48, 3), C(64, 3)],
}
_RESNET_6A = {
    "branch0": [C(384, 3, 2, padding=0)],
    "branch1": [C(256, 1), C(256, 3), C(384, 3, 2, padding=0)],
    "branch2": _HALVED,
}
_BLOCK_17 = {
    "branch0": [C(192, 1)],
    "branch1": [C(128, 1), C(160, _ROW), C(192, _COLUMN)],
}
_RESNET_7A = {
    "branch0": [C(256, 1), C(384, 3, 2, padding=0)],
    "branch1": [C(256, 1), C(288, 3, 2, padding=0)],
    "branch2": [C(256, 1), C(288, 3), C(320, 3, 2, padding=0)],
    "branch3": _HALVED,
}
_BLOCK_8 = {
    "branch0": [C(192, 1)],
    "branch1": [C(192, 1), C(224, (1, 3)), C(256, (3, 1))],
}
