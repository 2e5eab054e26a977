"""GoogLeNet and Inception v3: modules of parallel branches.

Szegedy et al. 2015, Going deeper with convolutions; Szegedy et al. 2016, Rethinking the Inception
architecture for computer vision.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.layers.kit import LayerKit, Maxima
from jaxcnn.layers.pooling import adaptive_average_pool, global_average_pool, pool
from jaxcnn.limits import AT_LEAST_0, FRACTION, POSITIVE
from jaxcnn.models.classifier import Classifier, NormName


class C(NamedTuple):
    """A convolution, as a branch lists it; the default padding keeps the size where the stride is 1."""

    width: int
    kernel: int | tuple[int, int]
    stride: int = 1
    padding: int | None = None


class P(NamedTuple):
    """A pooling, as a branch lists it."""

    kind: str
    window: int = 3
    stride: int = 1
    padding: int = 1


# The steps of a branch, in order; a pair is two convolutions side by side.
Branch = Sequence[C | P | tuple[C, C]]


class ConvNorm(nn.Module):
    """Convolution, norm, activation."""

    kit: LayerKit
    convolution: C

    @nn.compact
    def __call__(self, x: jax.Array, maxima: Maxima | None = None) -> jax.Array:
        x = self.kit.conv(*self.convolution, name="conv")(x)
        return self.kit.norm_act(x, "norm", maxima)


def halved(layer: ConvNorm, x: jax.Array, ceil: bool = False, *, name: str) -> jax.Array:
    """A layer and a 3×3/2 maximum of that name, in the order that `kit.pools_first` says."""
    maxima = partial(pool, kind="max", window=3, stride=2, ceil=ceil, name=name)
    return layer(x, maxima) if layer.kit.pools_first else maxima(layer(x))


class Inception(nn.Module):
    """Branches side by side, their channels one after the other.

    A branch's convolutions are called after it and numbered, `branch5x5_1`, those side by side
    `_2a` and `_2b`, and the only one of a branch as the branch.
    """

    kit: LayerKit
    branches: Mapping[str, Branch]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.concatenate(
            [self.branch(name, steps, x) for name, steps in self.branches.items()], axis=-1
        )

    def branch(self, name: str, steps: Branch, x: jax.Array) -> jax.Array:
        convolutions = [step for step in steps if not isinstance(step, P)]
        done = 0
        for step in steps:
            if isinstance(step, P):
                x = pool(x, *step, name=f"{name}_pool")
                continue
            done += 1
            numbered = f"{name}_{done}" if len(convolutions) > 1 else name
            if isinstance(step, C):
                x = ConvNorm(self.kit, step, name=numbered)(x)
            else:
                a, b = step
                a = ConvNorm(self.kit, a, name=f"{numbered}a")(x)
                b = ConvNorm(self.kit, b, name=f"{numbered}b")(x)
                x = jnp.concatenate([a, b], axis=-1)
        return x


class AuxiliaryHeads(Classifier):
    """A classifier with auxiliary ones on earlier layers, for training alone.

    With `aux_heads` they exist; the loss of each is weighted by `aux_weight`.
    """

    aux_heads: bool = False
    aux_weight: Annotated[float, AT_LEAST_0] = 0.0

    TRAINING_ONLY = Classifier.TRAINING_ONLY | {"aux_heads", "aux_weight"}

    def trains_aux_heads(self, kit: LayerKit) -> bool:
        return self.aux_heads and (kit.train or self.is_initializing())

    def aux_logits(self, name: str, logits: jax.Array) -> None:
        """Hands logits to the training step, in the collection 'aux_logits'."""
        if not self.is_initializing():
            self.sow("aux_logits", name, logits)


class GoogLeNet(AuxiliaryHeads):
    """Nine Inception modules; torchvision's variant, with batch normalisation.

    As there, what the paper calls 5×5 is 3×3. With `aux_heads`, two small classifiers after modules
    4a and 4d are trained too, the loss of each weighted by `aux_weight`; evaluation omits them.
    """

    norm: NormName = "batch"
    norm_epsilon: Annotated[float, POSITIVE] = 1e-3
    dropout_rate: Annotated[float, FRACTION] = 0.2
    aux_weight: Annotated[float, AT_LEAST_0] = 0.3
    aux_dropout_rate: Annotated[float, FRACTION] = 0.7
    remat: bool = False

    TRAINING_ONLY = AuxiliaryHeads.TRAINING_ONLY | {"aux_dropout_rate", "remat"}

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        kit = self.kit(train)
        module_type = nn.remat(Inception) if self.remat else Inception

        def inception(x, name, one, reduce3, three, reduce5, five, pooled):
            branches = {
                "branch1": [C(one, 1)],
                "branch2": [C(reduce3, 1), C(three, 3)],
                "branch3": [C(reduce5, 1), C(five, 3)],
                "branch4": [P("max"), C(pooled, 1)],
            }
            return module_type(kit, branches, name=f"inception{name}")(x)

        x = halved(ConvNorm(kit, C(64, 7, 2), name="conv1"), images, ceil=True, name="pool1")
        self.endpoint("stem", x)
        x = ConvNorm(kit, C(64, 1), name="conv2")(x)
        x = halved(ConvNorm(kit, C(192, 3), name="conv3"), x, ceil=True, name="pool2")
        self.endpoint("stage1", x)
        x = inception(x, "3a", 64, 96, 128, 16, 32, 32)
        x = inception(x, "3b", 128, 128, 192, 32, 96, 64)
        x = self.endpoint("stage2", pool(x, "max", 3, 2, ceil=True, name="pool3"))
        x = inception(x, "4a", 192, 96, 208, 16, 48, 64)
        self.auxiliary(kit, x, "aux1")
        x = inception(x, "4b", 160, 112, 224, 24, 64, 64)
        x = inception(x, "4c", 128, 128, 256, 24, 64, 64)
        x = inception(x, "4d", 112, 144, 288, 32, 64, 64)
        self.auxiliary(kit, x, "aux2")
        x = inception(x, "4e", 256, 160, 320, 32, 128, 128)
        x = self.endpoint("stage3", pool(x, "max", 2, ceil=True, name="pool4"))
        x = inception(x, "5a", 256, 160, 320, 32, 128, 128)
        x = inception(x, "5b", 384, 192, 384, 48, 128, 128)
        x = global_average_pool(self.endpoint("stage4", x))
        return self.head(kit, kit.dropout(self.endpoint("pre_logits", x), self.dropout_rate))

    def auxiliary(self, kit: LayerKit, x: jax.Array, name: str) -> None:
        """Averages to 4×4, a 1×1 convolution, a hidden layer, logits."""
        if not self.trains_aux_heads(kit):
            return
        x = adaptive_average_pool(x, 4, name=f"{name}_pool")
        x = ConvNorm(kit, C(128, 1), name=f"{name}_conv")(x)
        x = kit.act(kit.dense(1024, name=f"{name}_fc")(x.reshape(len(x), -1)))
        x = kit.dropout(x, self.aux_dropout_rate)
        self.aux_logits(name, self.head(kit, x, name=f"{name}_head"))


class InceptionV3(AuxiliaryHeads):
    """For 299×299 pixels: modules at 35×35, 17×17 and 8×8, with 7×7 convolutions taken apart.

    With `aux_heads`, a small classifier on the last 17×17 pixels is trained too, its loss weighted by
    `aux_weight`; evaluation omits it.
    """

    norm: NormName = "batch"
    norm_epsilon: Annotated[float, POSITIVE] = 1e-3
    dropout_rate: Annotated[float, FRACTION] = 0.5
    aux_weight: Annotated[float, AT_LEAST_0] = 0.4
    remat: bool = False

    TRAINING_ONLY = AuxiliaryHeads.TRAINING_ONLY | {"remat"}

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        kit = self.kit(train)
        module_type = nn.remat(Inception) if self.remat else Inception

        def inception(x, name, branches):
            return module_type(kit, branches, name=f"mixed{name}")(x)

        x = ConvNorm(kit, C(32, 3, 2, padding=0), name="conv1a")(images)
        x = ConvNorm(kit, C(32, 3, padding=0), name="conv2a")(x)
        x = halved(ConvNorm(kit, C(64, 3), name="conv2b"), x, name="pool1")
        self.endpoint("stem", x)
        x = ConvNorm(kit, C(80, 1), name="conv3b")(x)
        x = halved(ConvNorm(kit, C(192, 3, padding=0), name="conv4a"), x, name="pool2")
        self.endpoint("stage1", x)
        for name, pooled in (("5b", 32), ("5c", 64), ("5d", 64)):
            x = inception(x, name, _figure_5(pooled))
        x = inception(self.endpoint("stage2", x), "6a", _REDUCTION_6A)
        for name, inner in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            x = inception(x, name, _figure_6(inner))
        self.auxiliary(kit, self.endpoint("stage3", x))
        x = inception(x, "7a", _REDUCTION_7A)
        x = inception(x, "7b", _FIGURE_7)
        x = inception(x, "7c", _FIGURE_7)
        x = global_average_pool(self.endpoint("stage4", x))
        return self.head(kit, kit.dropout(self.endpoint("pre_logits", x), self.dropout_rate))

    def auxiliary(self, kit: LayerKit, x: jax.Array) -> None:
        """A 5×5/3 average, 1×1 and 5×5 convolutions, logits."""
        if not self.trains_aux_heads(kit):
            return
        x = pool(x, "avg", 5, 3, name="aux_pool")
        x = ConvNorm(kit, C(128, 1), name="aux_conv0")(x)
        x = ConvNorm(kit, C(768, 5, padding=0), name="aux_conv1")(x)
        self.aux_logits("aux", self.head(kit, global_average_pool(x), name="aux_head"))


# The modules of Inception v3, by the paper's figures.


def _figure_5(pooled: int) -> dict[str, Branch]:
    return {
        "branch1x1": [C(64, 1)],
        "branch5x5": [C(48, 1), C(64, 5)],
        "branch3x3dbl": [C(64, 1), C(96, 3), C(96, 3)],
        "branch_pool": [P("avg"), C(pooled, 1)],
    }


_REDUCTION_6A = {
    "branch3x3": [C(384, 3, 2, padding=0)],
    "branch3x3dbl": [C(64, 1), C(96, 3), C(96, 3, 2, padding=0)],
    "branch_pool": [P("max", 3, 2, padding=0)],
}


def _figure_6(inner: int) -> dict[str, Branch]:
    row, column = (1, 7), (7, 1)
    return {
        "branch1x1": [C(192, 1)],
        "branch7x7": [C(inner, 1), C(inner, row), C(192, column)],
        "branch7x7dbl": [
            C(inner, 1), C(inner, column), C(inner, row), C(inner, column), C(192, row),
        ],
        "branch_pool": [P("avg"), C(192, 1)],
    }  # fmt: skip


_REDUCTION_7A = {
    "branch3x3": [C(192, 1), C(320, 3, 2, padding=0)],
    "branch7x7x3": [C(192, 1), C(192, (1, 7)), C(192, (7, 1)), C(192, 3, 2, padding=0)],
    "branch_pool": [P("max", 3, 2, padding=0)],
}

_FIGURE_7 = {
    "branch1x1": [C(320, 1)],
    "branch3x3": [C(384, 1), (C(384, (1, 3)), C(384, (3, 1)))],
    "branch3x3dbl": [C(448, 1), C(384, 3), (C(384, (1, 3)), C(384, (3, 1)))],
    "branch_pool": [P("avg"), C(192, 1)],
}
