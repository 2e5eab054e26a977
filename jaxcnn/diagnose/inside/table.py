"""The kinds of pictures that `jaxcnn picture` draws."""

from collections.abc import Callable

from matplotlib.figure import Figure

from jaxcnn.diagnose.inside.feature_maps import feature_maps
from jaxcnn.diagnose.inside.filters import filters
from jaxcnn.diagnose.inside.maximisation import maximisation
from jaxcnn.diagnose.inside.patches import patches
from jaxcnn.diagnose.inside.saliency import saliency
from jaxcnn.diagnose.pictures import augmentation_gallery
from jaxcnn.train.saved_run import SavedRun


def augmentations(run: SavedRun, count: int = 4) -> Figure:
    """The first `count` training images, as stored and as augmented in the first seven epochs."""
    dataset = run.dataset("train", {})
    count = min(count, len(dataset.splits["train"]))
    return augmentation_gallery(run.config, dataset, count, epochs=7)


# Each takes a run, and by keyword those of the command's flags that it has a use for.
KINDS: dict[str, Callable[..., Figure]] = {
    "filters": filters,
    "feature_maps": feature_maps,
    "maximisation": maximisation,
    "patches": patches,
    "saliency": saliency,
    "augmentations": augmentations,
}
