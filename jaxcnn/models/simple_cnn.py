"""The first network that a student writes: conv, norm, activation, pool, and again."""

from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax

from jaxcnn.layers.pooling import pool
from jaxcnn.limits import AT_LEAST_1, each
from jaxcnn.models.classifier import Classifier, NormName, PoolingName


class SimpleCNN(Classifier):
    """A 3×3 convolution and a 2×2 pool per width, then one hidden layer and the logits."""

    norm: NormName = "batch"
    widths: Annotated[Sequence[int], each(AT_LEAST_1)] = (32, 64)
    hidden: Annotated[int, AT_LEAST_1] = 128
    pooling: PoolingName = "max"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        kit = self.kit(train)
        x = images
        for i, width in enumerate(self.widths, start=1):
            x = kit.conv(width, 3, use_bias=True, name=f"conv{i}")(x)
            if self.pooling == "max" and not (i == 1 and self.gives_features):
                x = kit.norm_act_maximum(x, f"norm{i}", 2, name=f"pool{i}")
            else:
                x = kit.norm_act(x, f"norm{i}")
                if i == 1:
                    self.endpoint("stem", x)
                x = pool(x, self.pooling, 2, name=f"pool{i}")
            self.endpoint(f"stage{i}", x)
        x = x.reshape(x.shape[0], -1)
        x = kit.act(kit.dense(self.hidden, name="dense")(x))
        x = kit.dropout(self.endpoint("pre_logits", x), self.dropout_rate)
        return self.head(kit, x)
