"""How much each image of a split excites a unit, and where."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.models.classifier import Classifier, features
from jaxcnn.programs import made_once
from jaxcnn.train.evaluate import outputs_of_split
from jaxcnn.train.extraction import layers_of
from jaxcnn.train.saved_run import SavedRun


def strongest(
    run: SavedRun, dataset: Dataset, split: str, layer: str, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The largest activation of each unit of a layer in each image of a split.

    Returns:
      Activations, float32 (images, units), and their rows and columns in the layer's map, int (images,
      units, 2); 0 where the layer is no map.
    """
    answer, feed = (
        _strongest(run.model, layer, tuple(units.tolist())),
        HostFeed(dataset, run.layout),
    )
    size = run.config.eval.global_batch_size
    found = outputs_of_split(answer, run.variables, feed, split, size)
    columns = layers_of(run)[layer][-2:-1] or (1,)
    return found[..., 0], np.stack(np.divmod(found[..., 1].astype(int), columns), axis=-1)


@made_once
def _strongest(
    model: Classifier, layer: str, units: tuple[int, ...]
) -> Callable[[Mapping, dict], jax.Array]:
    @jax.jit
    def answer(variables: Mapping, batch: dict) -> jax.Array:
        x = features(model, variables, batch["image"])[layer][..., jnp.array(units)]
        x = x.astype(jnp.float32).reshape(len(x), -1, len(units))
        return jnp.stack([x.max(axis=1), x.argmax(axis=1).astype(jnp.float32)], axis=-1)

    return answer
