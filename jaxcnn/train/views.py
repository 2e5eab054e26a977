"""Test-time augmentation: class probabilities averaged over several views of an image."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxcnn.errors import UserError, suggestion
from jaxcnn.train.losses import OF_SOFTMAX

# The side of a crop as a fraction of the image's. Krizhevsky et al. 2012 crop 224 pixels from a
# short side of 256; Simonyan & Zisserman 2015 and He et al. 2016 use short sides from 224 to 640.
CROP = 224 / 256
SCALES = tuple(224 / short_side for short_side in (224, 256, 384, 480, 640))


def center_crop(images: jax.Array) -> jax.Array:
    """The central 7/8 of each side: (1, batch, height, width, channels)."""
    return _views(images, (CROP,), places=((0.5, 0.5),), mirrored=False)


def ten_crop(images: jax.Array) -> jax.Array:
    """The corners and the centre, 7/8 of each side, and their mirror images: (10, batch, …)."""
    return _views(images, (CROP,))


def multi_scale(images: jax.Array) -> jax.Array:
    """The ten crops at each of the five scales: (50, batch, …)."""
    return _views(images, SCALES)


VIEWS: dict[str, Callable[[jax.Array], jax.Array]] = {
    view.__name__: view for view in (center_crop, ten_crop, multi_scale)
}

_CORNERS_AND_CENTRE = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5))


def check_views(name: str, config: ConfigDict) -> None:
    """Refuses views that do not exist, or that cannot be combined with the config's loss.

    Raises:
      UserError: names the views, and the valid choices.
    """
    if name and name not in VIEWS:
        raise UserError(f"tta={name!r}: {suggestion(name, VIEWS)}")
    if name and config.loss.name not in OF_SOFTMAX:
        raise UserError(
            f"tta={name!r} averages softmax probabilities, which config.loss.name="
            f"{config.loss.name!r} does not give"
        )


def _views(images, shares, places=_CORNERS_AND_CENTRE, mirrored=True) -> jax.Array:
    """Crops at these places, resized to the size of the images, which is that of training."""
    height, width = images.shape[1:3]
    crops = []
    for share in shares:
        rows, columns = max(1, round(share * height)), max(1, round(share * width))
        for down, right in places:
            top, left = int(down * (height - rows)), int(right * (width - columns))
            crop = images[:, top : top + rows, left : left + columns]
            crops.append(jax.image.resize(crop, images.shape, "linear"))
    return jnp.stack([*crops, *(crop[:, :, ::-1] for crop in crops if mirrored)])


def with_views(model: nn.Module, name: str) -> Callable:
    """Returns (variables, images) → log of the class probabilities averaged over an image's views.

    The result, (batch, classes), can be used as logits: its softmax is that average.
    """

    def log_probabilities(variables, images: jax.Array) -> jax.Array:
        def probabilities(view: jax.Array) -> jax.Array:
            return jax.nn.softmax(model.apply(variables, view, train=False))

        return log_of(jax.lax.map(probabilities, VIEWS[name](images)).mean(axis=0))

    return log_probabilities


def log_of(probabilities: jax.Array) -> jax.Array:
    """Their logarithm; of 0, to which a small one is rounded, that of the smallest normal number."""
    return jnp.log(jnp.maximum(probabilities, jnp.finfo(probabilities.dtype).tiny))
