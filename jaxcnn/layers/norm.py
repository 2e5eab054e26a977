"""Normalisation layers by name."""

import math
import re
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.errors import UserError, check_choice

NORMS = ("batch", "layer", "instance", "group", "none")
BATCH_NORM_MODES = ("sync", "per_replica", "ghost", "frozen")


class BatchNorm(nn.Module):
    """Batch normalisation. Ioffe & Szegedy 2015.

    In training, each channel is normalised by the mean and the variance of its values in the batch;
    otherwise by running averages, r ← momentum·r + (1 − momentum)·batch at each training step. As in
    torch, the running variance averages the unbiased estimate, n/(n − 1) times the batch's variance.
    Variables: `scale` and `bias` in params, `mean` and `var` in batch_stats, each (channels,).

    `mode` says over which examples the statistics are taken:
      sync: the global batch, however many devices share it;
      per_replica: the share of each of `replicas` devices, as if each trained alone; averaged for the
        running ones;
      ghost: each `ghost_batch_size` examples in turn (Hoffer et al. 2017); averaged likewise;
      frozen: none; training too uses the running ones and leaves them as they are. Scale and bias
        are still trained. A layer whose path one of the regexes in `frozen` matches has this mode,
        whatever `mode` says.

    Raises:
      UserError: in training, the batch cannot be divided so, a channel has one value only, or
        per_replica does not know the number of replicas.
    """

    train: bool
    momentum: float = 0.9
    epsilon: float = 1e-5
    mode: str = "sync"
    ghost_batch_size: int = 32
    frozen: tuple[str, ...] = ()
    replicas: int | None = None
    scale_init: Callable = nn.initializers.ones_init()
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: jax.Array, maxima: Callable[[jax.Array], jax.Array] | None = None
    ) -> jax.Array:
        """(batch, …, channels) floats → the same shape, in `dtype`.

        Args:
          maxima: takes the maximum over windows of pixels. The result is then `maxima` of the
            normalised x, to rounding, although only the maxima of x are normalised: within a channel
            that keeps the order, or reverses it where the scale is negative. There −x takes the
            place of x. The gradient of a scale of zero is that of a positive one.
        """
        channels = (x.shape[-1],)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        scale = self.param("scale", self.scale_init, channels, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), channels, self.param_dtype)

        signs = None if maxima is None else lax.stop_gradient(jnp.where(scale < 0, -1, 1))

        def signed(array: jax.Array) -> jax.Array:
            return array if signs is None else array * signs.astype(array.dtype)

        x, scale, chosen = signed(x), signed(scale), maxima or (lambda x: x)

        def normalized(x: jax.Array, mean: jax.Array, var: jax.Array) -> jax.Array:
            return ((x - mean) * (lax.rsqrt(var + self.epsilon) * scale) + bias).astype(self.dtype)

        if not self.train or self.mode == "frozen" or self._is_frozen():
            return normalized(chosen(x), signed(running_mean.value), running_var.value)

        groups, values = self._groups(len(x)), x.size // x.shape[-1]
        if groups == 1:
            mean, var = _statistics(x)
            outputs = normalized(chosen(x), mean, var)
        else:
            means, variances = jax.vmap(_statistics)(_grouped(x, groups))
            x = chosen(x)
            outputs = jax.vmap(normalized)(_grouped(x, groups), means, variances).reshape(x.shape)
            mean, var = means.mean(axis=0), variances.mean(axis=0)

        values //= groups
        if values == 1:
            raise UserError(
                f"layer '{'/'.join(self.path)}': batch normalisation in training needs more than one "
                "value per channel; a batch of 1 has one where the image has shrunk to one pixel"
            )
        if not self.is_initializing():
            unbiased = var * (values / (values - 1))
            for running, new in ((running_mean, signed(mean)), (running_var, unbiased)):
                running.value = self.momentum * running.value + (1 - self.momentum) * new
        return outputs

    def _is_frozen(self) -> bool:
        path = "/".join(self.path)
        return any(re.search(pattern, path) for pattern in self.frozen)

    def _groups(self, batch: int) -> int:
        """The number of parts of the batch that are normalised separately."""
        if self.mode == "sync":
            return 1
        if self.mode == "per_replica":
            if self.replicas is None:
                raise UserError(
                    "batch_norm_mode='per_replica' needs the number of replicas: "
                    "create_model(…, replicas=N)"
                )
            divisor, what = self.replicas, f"{self.replicas} devices"
        else:
            divisor, what = (
                self.ghost_batch_size,
                f"parts of ghost_batch_size={self.ghost_batch_size}",
            )
        if batch % divisor:
            raise UserError(
                f"batch_norm_mode='{self.mode}' cannot divide a batch of {batch} among {what}"
            )
        return divisor if self.mode == "per_replica" else batch // divisor


def _grouped(x: jax.Array, groups: int) -> jax.Array:
    """(batch, …) → (groups, batch/groups, …)."""
    return x.reshape(groups, -1, *x.shape[1:])


def _statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of each channel, in float32 at least."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(x.ndim - 1))
    mean, mean_of_squares = x.mean(axes), lax.square(x).mean(axes)
    return mean, jnp.maximum(0.0, mean_of_squares - lax.square(mean))


class GroupNorm(nn.GroupNorm):
    """`flax.linen.GroupNorm` that says which numbers of groups a layer can have.

    Raises:
      UserError: `num_groups` does not divide the channels.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        if channels % self.num_groups:
            valid = [n for n in range(1, channels + 1) if channels % n == 0]
            raise UserError(
                f"norm_groups={self.num_groups} does not divide the {channels} channels of layer "
                f"'{'/'.join(self.path)}'; valid there: {', '.join(map(str, valid))}"
            )
        return super().__call__(x)


class InstanceNorm(nn.InstanceNorm):
    """`flax.linen.InstanceNorm` that refuses single pixels, which it would turn into zeros.

    Raises:
      UserError: a channel has one value only.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        if math.prod(x.shape[1:-1]) == 1:
            raise UserError(
                f"layer '{'/'.join(self.path)}': norm='instance' makes a constant of a channel that "
                "has one pixel; use another norm or larger images"
            )
        return super().__call__(x)


def normalization(
    name: str,
    train: bool,
    *,
    epsilon: float = 1e-5,
    groups: int = 32,
    momentum: float = 0.9,
    mode: str = "sync",
    ghost_batch_size: int = 32,
    frozen: tuple[str, ...] = (),
    replicas: int | None = None,
    **dtypes,
) -> Callable[..., Callable]:
    """A constructor of layers: `norm = normalization('batch', train)`, then `norm(name='norm1')(x)`.

    Each has a scale and a bias per channel; `norm(name, scale_init=…)` initialises the scale, which
    is one by default. All but 'batch' treat each example alone, in training and in evaluation alike.

    Args:
      name: 'batch' (`BatchNorm`, which takes `momentum`, `mode`, `ghost_batch_size`, `frozen` and
        `replicas`);
        'layer' (Ba, Kiros & Hinton 2016: over all pixels and channels of an example);
        'instance' (Ulyanov, Vedaldi & Lempitsky 2016: over the pixels of each channel);
        'group' (Wu & He 2018: over the pixels and channels of each of `groups` groups); or 'none'.
      epsilon: added to the variance.

    Raises:
      UserError: there is no such normalisation.
    """
    check_choice("norm", name, NORMS)
    check_choice("batch_norm_mode", mode, BATCH_NORM_MODES)
    match name:
        case "batch":
            return partial(
                BatchNorm,
                train=train,
                momentum=momentum,
                epsilon=epsilon,
                mode=mode,
                ghost_batch_size=ghost_batch_size,
                frozen=frozen,
                replicas=replicas,
                **dtypes,
            )
        case "layer":
            return partial(GroupNorm, num_groups=1, epsilon=epsilon, **dtypes)
        case "instance":
            return partial(InstanceNorm, epsilon=epsilon, **dtypes)
        case "group":
            return partial(GroupNorm, num_groups=groups, epsilon=epsilon, **dtypes)
    return lambda name, **_: lambda x: x
