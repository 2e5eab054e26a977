"""LeNet-5. LeCun, Bottou, Bengio, Haffner 1998: Gradient-based learning applied to document
recognition."""

import flax.linen as nn
import jax

from jaxcnn.layers.pooling import pool
from jaxcnn.models.classifier import ActivationName, Classifier, PoolingName


class LeNet5(Classifier):
    """C1 6@5×5, S2, C3 16@5×5, S4, then 120, 84 and the logits.

    61,706 parameters for 10 classes of 32×32×1 images; 28×28 images are padded by 2, as MNIST's were.
    As in most code since, S2 and S4 have no weights, C3 sees all of S2's maps, and the output is
    linear. The paper's own units are `activation='tanh'`, `pooling='avg'`.
    """

    activation: ActivationName = "tanh"
    pooling: PoolingName = "avg"
    kernel_init: str = "lecun_normal"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        kit = self.kit(train)
        padding = 2 if images.shape[1:3] == (28, 28) else 0

        x = kit.conv(6, 5, padding=padding, use_bias=True, name="c1")(images)
        x = self.endpoint("stem", kit.act(kit.norm(name="c1_norm")(x)))
        x = self.endpoint("stage1", pool(x, self.pooling, 2, name="s2"))
        x = kit.conv(16, 5, padding=0, use_bias=True, name="c3")(x)
        x = pool(kit.act(kit.norm(name="c3_norm")(x)), self.pooling, 2, name="s4")
        x = self.endpoint("stage2", x).reshape(x.shape[0], -1)
        x = kit.act(kit.dense(120, name="c5")(x))
        x = kit.dropout(x, self.dropout_rate)
        x = kit.act(kit.dense(84, name="f6")(x))
        return self.head(kit, self.endpoint("pre_logits", x))
