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
                    y = nn.relu(norm()(conv(width, (1, 1))(x)))
                    y = nn.relu(norm()(conv(width, (3, 3), strides=stride, padding=1)(y)))
                    y = norm()(conv(4 * width, (1, 1))(y))
                else:
                    y = nn.relu(norm()(conv(width, (3, 3), strides=stride, padding=1)(x)))
                    y = norm()(conv(width, (3, 3), padding=1)(y))
                if x.shape != y.shape:
                    x = norm()(conv(y.shape[-1], (1, 1), strides=stride)(x))
                x = nn.relu(x + y)
        return nn.Dense(self.num_classes, dtype=self.dtype)(x.mean(axis=(1, 2)))


MODELS = {
    "lenet5": LeNet5,
    "simple_cnn": SimpleCNN,
    "resnet20_cifar": CifarResNet20,
    "resnet18": partial(ResNet, (2, 2, 2, 2)),
    "resnet50": partial(ResNet, (3, 4, 6, 3), bottleneck=True),
}


class State(TrainState):
    batch_stats: dict


def make_step(name: str, images, labels, dtype: str):
    """A function that takes `count` training steps on one batch and waits for the last."""
    model = MODELS[name](dtype=dtype)
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), images[:1])
    state = State.create(
        apply_fn=model.apply,
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        tx=optax.sgd(0.1, momentum=0.9, nesterov=True),
    )

    @partial(jax.jit, donate_argnums=0)
    def train_step(state, images, labels):
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

    def steps(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, loss = train_step(state, images, labels)
        jax.block_until_ready((state, loss))

    return steps
