"""What all networks have in common: their settings, their head, the features they return."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import fields
from typing import Annotated, Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.layers.activations import ACTIVATIONS, RISING, activation
from jaxcnn.layers.initializers import initializer
from jaxcnn.layers.kit import LayerKit
from jaxcnn.layers.norm import BATCH_NORM_MODES, NORMS, normalization
from jaxcnn.layers.pooling import POOLS, adaptive_average_pool
from jaxcnn.layout import Layout
from jaxcnn.limits import AT_LEAST_1, FRACTION, POSITIVE, one_of

DTYPES = ("float32", "bfloat16", "float64")
PARAM_DTYPES = ("float32", "float64")

NormName = Annotated[str, one_of(NORMS)]
ActivationName = Annotated[str, one_of(ACTIVATIONS)]
PoolingName = Annotated[str, one_of(POOLS)]


class Classifier(nn.Module):
    """An image classifier: `__call__(images, train)` gives logits (batch, num_classes) in float32.

    A network is a subclass that adds settings of its own and says in `__call__` what it does to the
    images, (batch, height, width, channels) floats.
    """

    num_classes: Annotated[int, AT_LEAST_1]
    norm: NormName = "none"
    batch_norm_mode: Annotated[str, one_of(BATCH_NORM_MODES)] = "sync"
    batch_norm_momentum: Annotated[float, FRACTION] = 0.9
    ghost_batch_size: Annotated[int, AT_LEAST_1] = 32
    norm_groups: Annotated[int, AT_LEAST_1] = 32
    norm_epsilon: Annotated[float, POSITIVE] = 1e-5
    activation: ActivationName = "relu"
    dropout_rate: Annotated[float, FRACTION] = 0.0
    kernel_init: str = "he_normal"
    head_init: str = "lecun_normal"
    dtype: Annotated[str, one_of(DTYPES)] = "float32"
    param_dtype: Annotated[str, one_of(PARAM_DTYPES)] = "float32"
    replicas: int | None = None  # how many devices share a batch; per_replica needs it in training
    layout: Layout | None = None  # of the parameters and the batch, on several devices
    precision: str | None = None  # of products, as `jax.default_matmul_precision`; None: as it is
    frozen_statistics: tuple[str, ...] = ()  # regexes of layers: `BatchNorm.frozen`
    frozen_trunk: bool = False  # in training too, everything is computed as in evaluation

    # Settings that leave what the weights compute in evaluation as it is. A subclass adds its own.
    TRAINING_ONLY: ClassVar[frozenset[str]] = frozenset(
        {
            "num_classes", "parent", "name", "replicas", "layout", "precision", "dropout_rate",
            "dtype", "param_dtype", "kernel_init", "head_init", "batch_norm_mode",
            "batch_norm_momentum", "ghost_batch_size", "frozen_statistics", "frozen_trunk",
        }
    )  # fmt: skip

    @nn.nowrap
    def apply(self, variables: Mapping, *arguments, **options) -> Any:
        """`flax.linen.Module.apply` in the network's precision.

        Parameters that are sharded over devices are gathered first.
        """
        if self.layout is not None:
            variables = {**variables, "params": self.layout.gathered(variables["params"])}
        with jax.default_matmul_precision(self.precision) if self.precision else nullcontext():
            return super().apply(variables, *arguments, **options)

    def evaluation_differences(self, other: "Classifier") -> list[str]:
        """The settings by which another network of this class computes something else in evaluation.

        Returns:
          A text for each, as 'norm is batch there and none here': this network is there, `other` here.
        """
        names = sorted({field.name for field in fields(self)} - self.TRAINING_ONLY)
        pairs = {
            name: (_plain(getattr(self, name)), _plain(getattr(other, name))) for name in names
        }
        return [f"{name} is {a} there and {b} here" for name, (a, b) in pairs.items() if a != b]

    def kit(self, train: bool) -> LayerKit:
        """Makes this network's layers."""
        train = train and not self.frozen_trunk
        return LayerKit(
            act=activation(self.activation),
            norm=normalization(
                self.norm,
                train,
                epsilon=self.norm_epsilon,
                groups=self.norm_groups,
                momentum=self.batch_norm_momentum,
                mode=self.batch_norm_mode,
                ghost_batch_size=self.ghost_batch_size,
                frozen=self.frozen_statistics,
                replicas=self.replicas,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
            ),
            has_norm=self.norm != "none",
            keeps_order=self.norm in ("batch", "none") and self.activation in RISING,
            kernel_init=initializer(self.kernel_init),
            train=train,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            layout=self.layout,
        )

    def head(self, kit: LayerKit, features: jax.Array, name: str = "head") -> jax.Array:
        """Logits of features (…, width), in float32 at least, whatever the network computes in."""
        head = kit.dense(self.num_classes, initializer(self.head_init), name=name)
        logits = head(features)
        return logits.astype(jnp.promote_types(self.dtype, jnp.float32))

    @nn.compact
    def logits_of(self, features: jax.Array) -> jax.Array:
        """The logits of `features`' 'pre_logits', (batch, width), in evaluation."""
        return self.head(self.kit(train=False), features)

    @property
    def gives_features(self) -> bool:
        """Whether `features` asks, which needs every endpoint."""
        return self.is_mutable_collection("intermediates")

    def endpoint(self, name: str, x: jax.Array) -> jax.Array:
        """Lets `features` return x under this name; returns x itself."""
        self.sow("intermediates", name, x)
        return x


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class FullyConnectedClassifier(Classifier):
    """A classifier that ends in two hidden layers of `hidden` units on `pool_size`² pixels.

    The pixels are averages over windows that cover the image, whatever its size. With
    `dense_as_conv` the layers slide over the image instead, as convolutions with the same weights,
    and the logits are the mean of their score map, the feature 'score_map' (batch, rows, columns,
    num_classes).
    """

    dropout_rate: Annotated[float, FRACTION] = 0.5
    hidden: Annotated[int, AT_LEAST_1] = 4096
    pool_size: Annotated[int, AT_LEAST_1] = 7
    dense_as_conv: bool = False

    TRAINING_ONLY = Classifier.TRAINING_ONLY | {"dense_as_conv"}

    def fully_connected(
        self, kit: LayerKit, x: jax.Array, dropout_first: bool, bias: float = 0.0
    ) -> jax.Array:
        """Logits of x (batch, height, width, channels), with dropout before or after each layer."""
        if not self.dense_as_conv:
            x = adaptive_average_pool(x, self.pool_size, name="average_pool")
        before, after = (self.dropout_rate, 0.0)[:: 1 if dropout_first else -1]
        bias_init = nn.initializers.constant(bias)
        for name, window in (("fc6", self.pool_size), ("fc7", 1)):
            x = kit.window_dense(self.hidden, window, bias_init, name=name)(kit.dropout(x, before))
            x = kit.dropout(kit.act(x), after)
        self.endpoint("pre_logits", x.mean(axis=(1, 2)))
        return self.endpoint("score_map", self.head(kit, x)).mean(axis=(1, 2))


def abstract_variables(model: Classifier, image_shape: tuple[int, int, int]) -> dict:
    """The shapes and dtypes of a model's variables, for images (height, width, channels)."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)


def features(model: Classifier, variables: Mapping, images: jax.Array) -> dict[str, jax.Array]:
    """What a network computes on its way to the logits, in evaluation, by name.

    Args:
      variables: as `model.init` or `load_model` gives them.
      images: (batch, height, width, channels) floats.

    Returns:
      'stem', 'stage1', 'stage2', … as far as the network has them, (batch, height, width, channels),
      and 'pre_logits', (batch, width). The stages of an MLP are (batch, width); AlexNet and VGG also
      have 'score_map', (batch, rows, columns, num_classes), the logits of each window.
    """
    _, seen = model.apply(variables, images, train=False, mutable=["intermediates"])
    return {name: values[0] for name, values in seen["intermediates"].items()}


def feature_shapes(
    model: Classifier, variables: Mapping, image_shape: tuple[int, int, int]
) -> dict[str, tuple[int, ...]]:
    """The shapes of one image's `features`, by name, in order of depth; nothing is computed.

    Args:
      variables: or their shapes.
      image_shape: (height, width, channels).
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    found = jax.eval_shape(lambda v, x: features(model, v, x), variables, images)
    # The head's come last; a stage's number may have two digits.
    last = ("pre_logits", "score_map")
    names = sorted(found, key=lambda name: (name in last, name != "stem", len(name), name))
    return {name: found[name].shape[1:] for name in names}
