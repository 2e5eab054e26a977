"""Densely connected networks. Huang, Liu, van der Maaten & Weinberger 2017."""

from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.layers.kit import LayerKit
from jaxcnn.layers.pooling import global_average_pool, pool
from jaxcnn.limits import AT_LEAST_1, UP_TO_1, each
from jaxcnn.models.classifier import Classifier, NormName
from jaxcnn.models.resnet import StemName, resnet_stem


class DenseLayer(nn.Module):
    """Computes `growth_rate` new channels from its input and appends them to it.

    Norm, activation, 3×3 convolution; with a bottleneck, a norm, an activation and a 1×1 convolution to
    four times the growth rate come first.
    """

    kit: LayerKit
    growth_rate: int
    bottleneck: bool
    dropout_rate: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kit = self.kit
        y = kit.act(kit.norm(name="norm1")(x))
        if self.bottleneck:
            y = kit.conv(4 * self.growth_rate, 1, name="conv1")(y)
            y = kit.act(kit.norm(name="norm2")(y))
        y = kit.conv(self.growth_rate, 3, name="conv2" if self.bottleneck else "conv1")(y)
        return jnp.concatenate([x, kit.dropout(y, self.dropout_rate)], axis=-1)


class DenseNet(Classifier):
    """A densely connected network: a stem, dense blocks and transitions, average pool, the head.

    A transition is a norm, an activation, a 1×1 convolution that keeps `compression` of the
    channels, and a 2×2 average. `stem_width` channels leave the stem: the 'imagenet' one divides
    the size by four (7×7/2, norm, activation, then a 3×3/2 maximum), the 'cifar' one is a 3×3
    convolution. `dropout_rate` acts after each 3×3 convolution of the dense layers. `remat` makes the
    backward pass recompute each dense layer's inner activations, to save memory
    (Pleiss et al. 2017); on a CPU, XLA undoes that.
    """

    norm: NormName = "batch"
    stage_sizes: Annotated[Sequence[int], each(AT_LEAST_1)] = (6, 12, 24, 16)
    growth_rate: Annotated[int, AT_LEAST_1] = 32
    stem_width: Annotated[int, AT_LEAST_1] = 64
    bottleneck: bool = True
    compression: Annotated[float, UP_TO_1] = 0.5
    stem: StemName = "imagenet"
    remat: bool = False

    TRAINING_ONLY = Classifier.TRAINING_ONLY | {"remat"}

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        kit = self.kit(train)
        layer_type = nn.remat(DenseLayer) if self.remat else DenseLayer

        x = resnet_stem(kit, images, self.stem_width, self.stem)
        if self.stem == "imagenet":
            x = kit.norm_act_maximum(x, "stem_norm", 3, 2, padding=1, name="stem_pool")
        self.endpoint("stem", x)
        for stage, size in enumerate(self.stage_sizes, start=1):
            for layer in range(1, size + 1):
                x = layer_type(
                    kit=kit,
                    growth_rate=self.growth_rate,
                    bottleneck=self.bottleneck,
                    dropout_rate=self.dropout_rate,
                    name=f"stage{stage}_layer{layer}",
                )(x)
            self.endpoint(f"stage{stage}", x)
            if stage < len(self.stage_sizes):
                x = kit.act(kit.norm(name=f"transition{stage}_norm")(x))
                channels = int(x.shape[-1] * self.compression)
                x = kit.conv(channels, 1, name=f"transition{stage}_conv")(x)
                x = pool(x, "avg", 2, name=f"transition{stage}_pool")
        x = kit.act(kit.norm(name="norm")(x))
        return self.head(kit, self.endpoint("pre_logits", global_average_pool(x)))
