"""VGG. Simonyan & Zisserman 2015, Very deep convolutional networks for large-scale recognition."""

from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax

from jaxcnn.layers.lrn import local_response_norm
from jaxcnn.layers.pooling import pool
from jaxcnn.limits import AT_LEAST_1, each
from jaxcnn.models.classifier import FullyConnectedClassifier


class VGG(FullyConnectedClassifier):
    """VGG: stages of 3×3 convolutions, each halved by a 2×2 maximum, then two hidden layers.

    The paper's columns are `stage_sizes`: A (1, 1, 2, 2, 2), B (2, 2, 2, 2, 2), D (2, 2, 3, 3, 3) and
    E (2, 2, 4, 4, 4); `local_response` makes A-LRN of A, and `pointwise` makes C of D, whose last
    convolutions of stages 3, 4 and 5 are 1×1. The hidden layers begin with a deviation of 0.01,
    whatever `kernel_init` is, as in torchvision. Widths double up to eight times `width`. Images of
    32×32 pixels leave the stages as one pixel; `pool_size=1` and, say, `hidden=512` fit them.
    """

    kernel_init: str = "he_normal_fan_out"
    head_init: str = "normal_0.01"
    stage_sizes: Annotated[Sequence[int], each(AT_LEAST_1)] = (2, 2, 3, 3, 3)
    width: Annotated[int, AT_LEAST_1] = 64
    local_response: bool = False
    pointwise: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        kit = self.kit(train)
        x = images
        for stage, size in enumerate(self.stage_sizes, start=1):
            for i in range(1, size + 1):
                kernel = 1 if self.pointwise and i == 3 else 3
                width = self.width * min(2 ** (stage - 1), 8)
                x = kit.conv(width, kernel, use_bias=True, name=f"stage{stage}_conv{i}")(x)
                norm, pooled = f"stage{stage}_norm{i}", f"stage{stage}_pool"
                is_stem, is_last = (stage, i) == (1, 1), i == size
                if is_last and not is_stem:
                    x = kit.norm_act_maximum(x, norm, 2, name=pooled)
                    continue
                x = kit.norm_act(x, norm)
                if is_stem:
                    x = local_response_norm(x, name="lrn") if self.local_response else x
                    self.endpoint("stem", x)
                x = pool(x, "max", 2, name=pooled) if is_last else x
            self.endpoint(f"stage{stage}", x)
        dense = kit.beginning_with(nn.initializers.normal(0.01))
        return self.fully_connected(dense, x, dropout_first=False)
