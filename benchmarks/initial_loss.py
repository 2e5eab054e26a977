"""The initial loss of every model, compared with ln C.

    python benchmarks/initial_loss.py [PATTERN]

Uses a batch of eight noise images (mean 0, variance 1) of the size that the model was published
for, random labels and training mode. For normally distributed logits with variance σ², the loss
would be about ln C + σ²/2. Takes half an hour on two cores. Without a pattern, writes
benchmarks/results/initial_loss_*.json.
"""

import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import jax
import jax.numpy as jnp

from benchmarks import measure
from jaxcnn.models import PUBLISHED_FOR, create_model, list_models

BATCH_SIZE = 8
SEEDS = 3


def first_loss(name: str) -> dict:
    """The loss and the variance of the logits, averaged over the seeds."""
    shape, classes = PUBLISHED_FOR[name]
    model = create_model(name, num_classes=classes)

    def losses(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        init_key, image_key, label_key, dropout_key = jax.random.split(key, 4)
        images = jax.random.normal(image_key, (BATCH_SIZE, *shape))
        labels = jax.random.randint(label_key, (BATCH_SIZE,), 0, classes)
        variables = model.init(init_key, images[:1], train=False)
        logits, _ = model.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": dropout_key}
        )
        of_label = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        return -of_label.mean(), logits.var(axis=1).mean()

    # Not the bits of a run, but the same distribution, and a third of the compile time.
    keys = [jax.random.key(seed, impl="rbg") for seed in range(SEEDS)]
    compiled = jax.jit(losses).lower(keys[0]).compile()
    found = [compiled(key) for key in keys]
    loss, variance = (sum(map(float, column)) / SEEDS for column in zip(*found, strict=True))
    return {
        "ln_c": round(math.log(classes), 3),
        "loss": round(loss, 3),
        "variance": round(variance, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pattern", nargs="?", default="*")
    pattern = parser.parse_args().pattern
    rows = {}
    print(f"{'model':<26}{'ln C':>8}{'loss':>10}{'σ²':>10}{'ln C + σ²/2':>14}")
    for name in list_models(pattern):
        row = rows[name] = first_loss(name)
        print(
            f"{name:<26}{row['ln_c']:>8.3f}{row['loss']:>10.3f}{row['variance']:>10.3f}"
            f"{row['ln_c'] + row['variance'] / 2:>14.3f}",
            flush=True,
        )
        jax.clear_caches()
    if pattern == "*":
        measure.save("initial_loss", {"batch_size": BATCH_SIZE, "seeds": SEEDS, "models": rows})


if __name__ == "__main__":
    main()
