"""The feature maps of images."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from jaxcnn.diagnose.inside.images import images_of, shown
from jaxcnn.diagnose.inside.layers import chosen_map, chosen_units
from jaxcnn.plots.feature_maps import draw_feature_maps
from jaxcnn.train.extraction import features_of_images
from jaxcnn.train.saved_run import SavedRun


def feature_maps(
    run: SavedRun,
    images: Sequence[str | Path] = (),
    split: str = "test",
    count: int = 4,
    layer: str = "",
    units: Sequence[int] = (),
) -> Figure:
    """Channels of a layer for each image.

    Args:
      images: files; without any, `count` images of the split.
      layer: by default the first feature map.
      units: channels, by default the first twelve.

    Raises:
      UserError: an image cannot be read, or there is no such layer, channel or split.
    """
    layer = chosen_map(run, layer, 0)
    units = chosen_units(run, layer, units, 12)
    given = images_of(run, images, split, count)
    maps = features_of_images(run, given.pixels, layer)[..., units]
    size = "×".join(map(str, maps.shape[1:3]))
    return draw_feature_maps(
        shown(given.pixels, run.spec),
        given.names,
        maps,
        [f"unit {unit}" for unit in units],
        f"{run.config.model.name}, {layer}: maps of {size}",
    )
