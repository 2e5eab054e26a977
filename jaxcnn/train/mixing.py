"""Mixing of images and labels within a batch, on the device, inside the training step."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated

import flax.struct
import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError
from jaxcnn.limits import POSITIVE, UP_TO_1
from jaxcnn.registry import Registry


class Mix(flax.struct.PyTreeNode):
    """Mixes each example x with a partner x′, its counterpart in the reversed batch.

    Applied to a batch with `probability`. The weight λ of x is drawn from Beta(α, α), once per
    batch.
    """

    probability: Annotated[float, UP_TO_1] = 1.0
    alpha: Annotated[float, POSITIVE] = 1.0

    @abstractmethod
    def images(
        self, key: jax.Array, images: jax.Array, share: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mixes the images.

        Args:
          images: (batch, height, width, channels).
          share: scalar λ.

        Returns:
          The mixed images, and the actual weight of x in them, a scalar.
        """


class Mixup(Mix):
    """λx + (1 − λ)x′; Zhang et al. 2018."""

    alpha: Annotated[float, POSITIVE] = 0.2

    def images(self, key, images, share):
        return share * images + (1 - share) * images[::-1], share


class Cutmix(Mix):
    """x with a box of x′ covering 1 − λ of the area, clipped at the edges; Yun et al. 2019."""

    def images(self, key, images, share):
        height, width = images.shape[1:3]
        centre_y, centre_x = jax.random.uniform(key, (2,)) * jnp.array([height, width])
        side = jnp.sqrt(1 - share)

        def inside(centre, length):
            low = jnp.round(centre - side * length / 2)
            pixels = jnp.arange(length)
            return (pixels >= low) & (pixels < low + jnp.round(side * length))

        box = inside(centre_y, height)[:, None] & inside(centre_x, width)[None]
        mixed = jnp.where(box[None, :, :, None], images[::-1], images)
        return mixed, 1 - box.mean(dtype=images.dtype)


MIXES = Registry("mix")
MIXES.register("mixup", Mixup)
MIXES.register("cutmix", Cutmix)


def create_mixes(entries: Sequence[Mapping]) -> tuple[Mix, ...]:
    """Builds the mixes that a config's `data.mix` lists.

    Raises:
      UserError: a mix or a setting does not exist, a value is invalid, or the probabilities add up
        to more than 1.
    """
    entries = [dict(entry) for entry in entries]
    mixes = [MIXES.create(entry.pop("name"), **entry) for entry in entries]
    total = sum(mix.probability for mix in mixes)
    if total > 1 + 1e-6:
        raise UserError(
            "config.data.mix: at most one mix is applied to a batch, but the probabilities add up "
            f"to {total:g}"
        )
    return tuple(mixes)


def mixed(mixes: Sequence[Mix], key: jax.Array, batch: Mapping, num_classes: int) -> dict:
    """Applies at most one of the mixes, chosen at random, to a batch.

    Returns:
      The batch, with int labels replaced by probabilities (batch, num_classes) that add up to 1.
      Regression targets are mixed directly.
    """
    choice_key, share_key, images_key = jax.random.split(key, 3)
    labels = batch["label"]
    if jnp.issubdtype(labels.dtype, jnp.integer):
        labels = jax.nn.one_hot(labels, num_classes, dtype=batch["image"].dtype)

    def unmixed(_):
        return batch["image"], labels

    def by(mix: Mix):
        def apply(_):
            share = jax.random.beta(share_key, mix.alpha, mix.alpha).astype(labels.dtype)
            images, share = mix.images(images_key, batch["image"], share)
            return images, share * labels + (1 - share) * labels[::-1]

        return apply

    ends = jnp.cumsum(jnp.stack([jnp.asarray(mix.probability, float) for mix in mixes]))
    choice = (jax.random.uniform(choice_key) >= ends).sum()
    images, labels = jax.lax.switch(choice, [*map(by, mixes), unmixed], None)
    return {**batch, "image": images, "label": labels}
