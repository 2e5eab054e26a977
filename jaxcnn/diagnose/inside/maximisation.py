"""Images that excite units, made from noise.

Erhan et al. 2009, Visualizing higher-layer features of a deep network. Decay and blur are those of
Yosinski et al. 2015, Understanding neural networks through deep visualization; jitter is that of Olah
et al. 2017, Feature visualization.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from jaxcnn.diagnose.inside.images import black_and_white, shown
from jaxcnn.diagnose.inside.layers import (
    chosen_layer,
    chosen_units,
    field_in_words,
    seen_by,
)
from jaxcnn.diagnose.inside.strongest import strongest
from jaxcnn.diagnose.receptive_field import reaches_of
from jaxcnn.models.classifier import Classifier, features
from jaxcnn.plots.patches import draw_patches
from jaxcnn.programs import made_once
from jaxcnn.train.extraction import batch_of, features_of_images
from jaxcnn.train.saved_run import SavedRun

STEPS = 256
_RATE, _DECAY, _BLUR, _BLUR_EVERY = 0.05, 0.01, 0.1, 4
_NOISE = [(blur, contrast) for blur in (0, 1, 2, 4) for contrast in (0.3, 1.0)]
_STARTS = 8  # of each kind of noise
_COLUMNS = 8


def maximisation(
    run: SavedRun, layer: str = "", units: Sequence[int] = (), split: str = "test"
) -> Figure:
    """For each unit, the image that excites it most that gradient ascent finds.

    The unit of a map is the one in its middle, and what is drawn is its receptive field.

    Args:
      layer: by default the last feature map.
      units: by default the first eight.
      split: whose largest activation is said beside.

    Raises:
      UserError: there is no such layer, unit or split.
    """
    layer = chosen_layer(run, layer)
    units = chosen_units(run, layer, units, 8)
    of_data, _ = strongest(run, run.dataset(split, {}), split, layer, units)
    pixels, reached = maximised(run, layer, units)
    reach = reaches_of(run.model, run.variables, run.spec.image_shape)[layer]
    middle = _middle(features_of_images(run, pixels[:1], layer).shape)
    parts = [seen_by(image, reach, middle) for image in shown(pixels, run.spec)]
    titles = [
        f"unit {unit}\n{value:.3g} (images: {largest:.3g})"
        for unit, value, largest in zip(units, reached, of_data.max(axis=0), strict=True)
    ]
    heading = (
        f"{run.config.model.name}, {layer}: what excites a unit most, by gradient ascent from noise\n"
        f"(activation, and the largest of {len(of_data):,} {split} images; "
        f"field: {field_in_words(reach)})"
    )
    starts = range(0, len(units), _COLUMNS)
    rows = [[found[i : i + _COLUMNS] for i in starts] for found in (parts, titles)]
    return draw_patches(rows[0], [""] * len(starts), rows[1], heading)


def maximised(
    run: SavedRun, layer: str, units: np.ndarray, steps: int = STEPS
) -> tuple[np.ndarray, np.ndarray]:
    """An image for each unit of a layer, and how much it excites the unit.

    Ascent begins at the one of 64 noise images that excites the unit most. A unit that none excites,
    behind a ReLU, has a gradient of 0 and stays where it is.

    Returns:
      Pixels as they are stored, but floats (units, height, width, channels), within black and white;
      activations, float32 (units,).
    """
    black, white = black_and_white(run.spec)
    noise = _noise(run.spec.image_shape) * run.spec.std + run.spec.mean
    noise = np.clip(noise, black, white).astype(np.float32)
    activations = features_of_images(run, noise, layer)
    activations = activations[(slice(None), *_middle(activations.shape))]
    start = batch_of(run, noise[activations[:, units].argmax(axis=0)], unit=units.astype(np.int32))
    low, high = ((value - run.spec.mean) / run.spec.std for value in (black, white))
    images, reached = _ascent(run.model, layer, steps)(run.variables, start, low, high)
    pixels = np.asarray(images)[: len(units)] * run.spec.std + run.spec.mean
    return pixels, np.asarray(reached)[: len(units)]


def _middle(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The middle of a map (images, height, width, channels); () of what is no map."""
    return tuple(size // 2 for size in shape[1:-1])


def _noise(image_shape: tuple[int, int, int]) -> np.ndarray:
    """Normal noise of several contrasts and sizes of grain: (64, height, width, channels)."""
    rng, found = np.random.default_rng(0), []
    for blur, contrast in _NOISE:
        noise = gaussian_filter(rng.normal(size=(_STARTS, *image_shape)), (0, blur, blur, 0))
        found.append(contrast * noise / noise.std())
    return np.concatenate(found)


@made_once
def _ascent(model: Classifier, layer: str, steps: int) -> Callable:
    @jax.jit
    def ascend(
        variables: Mapping, start: dict, low: jax.Array, high: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        def activations(images: jax.Array) -> jax.Array:
            found = features(model, variables, images)[layer].astype(jnp.float32)
            found = found[(slice(None), *_middle(found.shape))]
            return jnp.take_along_axis(found, start["unit"][:, None], axis=1)[:, 0]

        slope = jax.grad(lambda images: activations(images).sum())
        most = max(1, max(start["image"].shape[1:3]) // 16)

        def step(images: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
            shift = jax.random.randint(jax.random.key(number), (2,), -most, most + 1)
            moved = slope(jnp.roll(images, shift, (1, 2)))
            uphill = jnp.roll(moved, -shift, (1, 2))
            size = jnp.sqrt(jnp.square(uphill).mean(axis=(1, 2, 3), keepdims=True))
            images = (1 - _DECAY) * (images + _RATE * uphill / jnp.maximum(size, 1e-12))
            images = jnp.where(number % _BLUR_EVERY == 0, _blurred(images), images)
            return jnp.clip(images, low, high), None

        images, _ = lax.scan(step, start["image"], jnp.arange(steps))
        return images, activations(images)

    return ascend


def _blurred(images: jax.Array) -> jax.Array:
    """A share of each pixel's value goes to its four neighbours; beyond the edge is the edge."""
    for axis in (1, 2):
        padding = [(1, 1) if i == axis else (0, 0) for i in range(4)]
        wide, size = jnp.pad(images, padding, mode="edge"), images.shape[axis]
        before, after = (lax.slice_in_dim(wide, i, i + size, axis=axis) for i in (0, 2))
        images = (1 - 2 * _BLUR) * images + _BLUR * (before + after)
    return images
