"""What a trained network computes before its head, for the images of a split or for others."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.errors import UserError, suggestion
from jaxcnn.models.classifier import Classifier, feature_shapes, features
from jaxcnn.programs import made_once
from jaxcnn.train.evaluate import outputs_of_split
from jaxcnn.train.saved_run import SavedRun

BEFORE_THE_HEAD = "pre_logits"


def layers_of(run: SavedRun) -> dict[str, tuple[int, ...]]:
    """The layers that can be extracted, each with its shape for one image."""
    return feature_shapes(run.model, run.variables, run.spec.image_shape)


def features_of_split(
    run: SavedRun, dataset: Dataset, split: str, layer: str = BEFORE_THE_HEAD
) -> np.ndarray:
    """The features of a split, in its order: float32 (images, …).

    Args:
      layer: one of `layers_of`.

    Raises:
      UserError: the network has no such layer.
    """
    _check(run, layer)
    extract, feed = extractor(run.model, layer), HostFeed(dataset, run.layout)
    return outputs_of_split(extract, run.variables, feed, split, run.config.eval.global_batch_size)


def features_of_images(
    run: SavedRun, pixels: np.ndarray, layer: str = BEFORE_THE_HEAD
) -> np.ndarray:
    """The features of pixels (images, height, width, channels) as they are stored."""
    _check(run, layer)
    batch = batch_of(run, pixels)
    return np.asarray(extractor(run.model, layer)(run.variables, batch))[: len(pixels)]


def batch_of(run: SavedRun, pixels: np.ndarray, **others: np.ndarray) -> dict[str, jax.Array]:
    """A batch as the network takes it, on the devices: 'image', normalised, and `others` by name.

    Zeros follow so that every device gets as many.

    Args:
      pixels: (images, height, width, channels), as they are stored.
      others: (images, …).
    """
    images = (pixels.astype(np.float32) - run.spec.mean) * (1 / run.spec.std)
    padding = -len(images) % run.layout.replicas
    batch = {
        name: np.concatenate([array, np.zeros((padding, *array.shape[1:]), array.dtype)])
        for name, array in {"image": images, **others}.items()
    }
    return run.layout.put_batch(batch)


def _check(run: SavedRun, layer: str) -> None:
    if layer not in (valid := layers_of(run)):
        raise UserError(f"layer={layer!r}: {suggestion(layer, valid)}")


@made_once
def extractor(model: Classifier, layer: str) -> Callable[[Mapping, dict], jax.Array]:
    @jax.jit
    def extract(variables: Mapping, batch: dict) -> jax.Array:
        return features(model, variables, batch["image"])[layer].astype(jnp.float32)

    return extract
