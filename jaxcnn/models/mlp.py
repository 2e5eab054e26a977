"""Softmax regression and the multilayer perceptron: the baselines of every CNN."""

from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax

from jaxcnn.limits import AT_LEAST_1, each
from jaxcnn.models.classifier import Classifier


class Linear(Classifier):
    """Softmax regression on the flattened image: one layer, (pixels·channels + 1)·classes parameters.

    The shared settings of hidden layers (norm, activation, dropout, kernel_init) have no effect.
    """

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        x = self.endpoint("pre_logits", images.reshape(images.shape[0], -1))
        return self.head(self.kit(train), x)


class MLP(Classifier):
    """Fully connected layers on the flattened image.

    Parameters: Σ (fan_in + 1)·fan_out over the layers.
    """

    widths: Annotated[Sequence[int], each(AT_LEAST_1)] = (256, 128)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        kit = self.kit(train)
        x = images.reshape(images.shape[0], -1)
        for i, width in enumerate(self.widths, start=1):
            x = kit.dense(width, name=f"dense{i}")(x)
            x = kit.act(kit.norm(name=f"norm{i}")(x))
            x = self.endpoint(f"stage{i}", kit.dropout(x, self.dropout_rate))
        return self.head(kit, self.endpoint("pre_logits", x))
