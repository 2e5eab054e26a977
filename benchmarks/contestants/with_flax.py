"""Plain Flax, in the manner of Flax's own ImageNet example: `nn.Conv`, `nn.BatchNorm`, `nn.relu`."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState


class LeNet5(nn.Module):
    num_classes: int = 10
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train):
        for features in (6, 16):
            x = nn.tanh(nn.Conv(features, (5, 5), padding="VALID", dtype=self.dtype)(x))
            x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        for features in (120, 84):
            x = nn.tanh(nn.Dense(features, dtype=self.dtype)(x))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)


class SimpleCNN(nn.Module):
    num_classes: int = 10
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train):
        norm = partial(nn.BatchNorm, use_running_average=not train, dtype=self.dtype)
        for features in (32, 64):
            x = nn.relu(norm()(nn.Conv(features, (3, 3), padding=1, dtype=self.dtype)(x)))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(128, dtype=self.dtype)(x))
        x = nn.Dropout(0.3, deterministic=not train)(x)
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)


class CifarResNet20(nn.Module):
    num_classes: int = 10
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train):
        conv = partial(nn.Conv, kernel_size=(3, 3), padding=1, use_bias=False, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, dtype=self.dtype)
        x = nn.relu(norm()(conv(16)(x)))
        for stage in range(3):
            for block in range(3):
                width, stride = 16 * 2**stage, 2 if stage > 0 and block == 0 else 1
                y = nn.relu(norm()(conv(width, strides=stride)(x)))
                y = norm()(conv(width)(y))
                if stride == 2:
                    x = jnp.pad(x[:, ::2, ::2], [(0, 0)] * 3 + [(width // 4, width // 4)])
                x = nn.relu(x + y)
        return nn.Dense(self.num_classes, dtype=self.dtype)(x.mean(axis=(1, 2)))


class ResNet(nn.Module):
    stage_sizes: tuple[int, ...]
    bottleneck: bool = False
    groups: int = 1
    inner_factor: int = 1
    num_classes: int = 1000
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train):
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, dtype=self.dtype)
        x = nn.relu(norm()(conv(64, (7, 7), strides=2, padding=3)(x)))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, size in enumerate(self.stage_sizes):
            for block in range(size):
                width, stride = 64 * 2**stage, 2 if stage > 0 and block == 0 else 1
                if self.bottleneck:
                    inner = width * self.inner_factor
                    grouped = partial(conv, feature_group_count=self.groups)
                    y = nn.relu(norm()(conv(inner, (1, 1))(x)))
                    y = nn.relu(norm()(grouped(inner, (3, 3), strides=stride, padding=1)(y)))
                    y = norm()(conv(4 * width, (1, 1))(y))
                else:
                    y = nn.relu(norm()(conv(width, (3, 3), strides=stride, padding=1)(x)))
                    y = norm()(conv(width, (3, 3), padding=1)(y))
                if x.shape != y.shape:
                    x = norm()(conv(y.shape[-1], (1, 1), strides=stride)(x))
                x = nn.relu(x + y)
        return nn.Dense(self.num_classes, dtype=self.dtype)(x.mean(axis=(1, 2)))


class WideResNet(nn.Module):
    widen_factor: int = 10
    num_classes: int = 10
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train):
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, dtype=self.dtype)
        x = conv(16, (3, 3), padding=1)(x)
        for stage in range(3):
            for block in range(4):
                width, stride = (
                    16 * self.widen_factor * 2**stage,
                    2 if stage > 0 and block == 0 else 1,
                )
                y = nn.relu(norm()(x))
                if block == 0:
                    x = conv(width, (1, 1), strides=stride)(y)
                y = nn.relu(norm()(conv(width, (3, 3), strides=stride, padding=1)(y)))
                x = x + conv(width, (3, 3), padding=1)(y)
        x = nn.relu(norm()(x))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x.mean(axis=(1, 2)))


class DenseNet(nn.Module):
    stage_sizes: tuple[int, ...] = (6, 12, 24, 16)
    growth_rate: int = 32
    num_classes: int = 1000
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train):
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, dtype=self.dtype)
        x = nn.relu(norm()(conv(64, (7, 7), strides=2, padding=3)(x)))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, size in enumerate(self.stage_sizes):
            for _ in range(size):
                y = conv(4 * self.growth_rate, (1, 1))(nn.relu(norm()(x)))
                y = conv(self.growth_rate, (3, 3), padding=1)(nn.relu(norm()(y)))
                x = jnp.concatenate([x, y], axis=-1)
            if stage < len(self.stage_sizes) - 1:
                x = conv(x.shape[-1] // 2, (1, 1))(nn.relu(norm()(x)))
                x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        x = nn.relu(norm()(x))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x.mean(axis=(1, 2)))


class VGG(nn.Module):
    stage_sizes: tuple[int, ...] = (2, 2, 3, 3, 3)
    num_classes: int = 1000
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train):
        for stage, size in enumerate(self.stage_sizes):
            for _ in range(size):
                width = 64 * min(2**stage, 8)
                x = nn.relu(nn.Conv(width, (3, 3), padding=1, dtype=self.dtype)(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(4096, dtype=self.dtype)(x))
            x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)


MODELS = {
    "lenet5": LeNet5,
    "simple_cnn": SimpleCNN,
    "resnet20_cifar": CifarResNet20,
    "resnet18": partial(ResNet, (2, 2, 2, 2)),
    "resnet50": partial(ResNet, (3, 4, 6, 3), bottleneck=True),
    "resnext50_32x4d": partial(ResNet, (3, 4, 6, 3), bottleneck=True, groups=32, inner_factor=2),
    "wide_resnet28_10": WideResNet,
    "densenet121": DenseNet,
    "vgg16": VGG,
}


class State(TrainState):
    batch_stats: dict


def first_state(model: nn.Module, images) -> State:
    """The state before the first step."""
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), images[:1])
    return State.create(
        apply_fn=model.apply,
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        tx=optax.sgd(0.1, momentum=0.9, nesterov=True),
    )


def train_step(state: State, images, labels):
    """The new state and the loss."""

    def objective(params):
        logits, changed = state.apply_fn(
            {"params": params, "batch_stats": state.batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.fold_in(jax.random.key(1), state.step)},
        )
        logits = logits.astype(jnp.float32)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return loss, changed.get("batch_stats", {})

    (loss, batch_stats), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads, batch_stats=batch_stats), loss


def make_step(name: str, images, labels, dtype: str):
    """A function that takes `count` training steps on one batch and waits for the last."""
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    state = first_state(MODELS[name](dtype=dtype), images)
    program = jax.jit(train_step, donate_argnums=0)

    def steps(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, loss = program(state, images, labels)
        jax.block_until_ready((state, loss))

    return steps
