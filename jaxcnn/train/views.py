"""Test-time augmentation: several views of an image, whose class probabilities are averaged."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxcnn.errors import UserError, suggestion

# Of each view's square, the share of the image's side. 224 pixels of a short side of 256 are 7/8 of it
# (Krizhevsky et al. 2012); the scales of Simonyan & Zisserman 2015 and He et al. 2016 are 224 … 640.
CROP = 224 / 256
SCALES = tuple(224 / short_side for short_side in (224, 256, 384, 480, 640))


def center_crop(images: jax.Array) -> jax.Array:
    """The middle 7/8 of each side: (1, batch, height, width, channels)."""
    return _views(images, (CROP,), places=((0.5, 0.5),), mirrored=False)


def ten_crop(images: jax.Array) -> jax.Array:
    """The corners and the middle, 7/8 of each side, and their mirror images: (10, batch, …)."""
    return _views(images, (CROP,))


def multi_scale(images: jax.Array) -> jax.Array:
    """The ten crops at each of the five scales: (50, batch, …)."""
    return _views(images, SCALES)


VIEWS: dict[str, Callable[[jax.Array], jax.Array]] = {
    view.__name__: view for view in (center_crop, ten_crop, multi_scale)
}

_CORNERS_AND_CENTRE = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5))


def check_views(name: str, config: ConfigDict) -> None:
    """Refuses views that there are not, or that a config's loss has no use for.

    Raises:
      UserError: the name, and what would be valid.
    """
    if name and name not in VIEWS:
        raise UserError(f"tta={name!r}: {suggestion(name, VIEWS)}")
    if name and config.loss.name != "softmax_cross_entropy":
        raise UserError(
            f"tta={name!r} averages class probabilities, and config.loss.name={config.loss.name!r} "
            "gives none that add up to 1"
        )


def _views(images, shares, places=_CORNERS_AND_CENTRE, mirrored=True) -> jax.Array:
    """Crops at these places, scaled to the size of the images, which is that of training."""
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
    """(variables, images) → the logarithm of the mean class probabilities over an image's views.

    It may stand for logits: its softmax is that mean.
    """

    def log_probabilities(variables, images: jax.Array) -> jax.Array:
        def probabilities(view: jax.Array) -> jax.Array:
            return jax.nn.softmax(model.apply(variables, view, train=False))

        return jnp.log(jax.lax.map(probabilities, VIEWS[name](images)).mean(axis=0))

    return log_probabilities
