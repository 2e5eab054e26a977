"""The layers of a run's network that a picture can be of, and what their units see."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxcnn.diagnose.receptive_field import Everything, Reach
from jaxcnn.errors import UserError, suggestion
from jaxcnn.train.extraction import BEFORE_THE_HEAD, layers_of
from jaxcnn.train.saved_run import SavedRun


def maps_of(run: SavedRun) -> dict[str, tuple[int, ...]]:
    """The layers that are feature maps, in order, each with its shape (height, width, channels)."""
    return maps_among(layers_of(run))


def maps_among(layers: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Those of `feature_shapes` that are feature maps; the score map is beyond the features."""
    found = layers.items()
    return {name: shape for name, shape in found if len(shape) == 3 and name != "score_map"}


def chosen_map(run: SavedRun, layer: str, default: int) -> str:
    """The layer, which must be a feature map; without one, that with the position `default`.

    Raises:
      UserError: it is none, or the network has none.
    """
    maps = maps_of(run)
    check_has_maps(run.config.model.name, maps)
    if layer and layer not in maps:
        raise UserError(f"layer={layer!r} is no feature map; {suggestion(layer, maps)}")
    return layer or list(maps)[default]


def check_has_maps(name: str, maps: Mapping) -> None:
    """Refuses a network without feature maps."""
    if not maps:
        raise UserError(f"{name} has no feature maps: its layers see the whole image at once")


def chosen_layer(run: SavedRun, layer: str) -> str:
    """The layer; without one, the last feature map, or what the head sees.

    Raises:
      UserError: the network has no such layer.
    """
    layers = layers_of(run)
    if layer and layer not in layers:
        raise UserError(f"layer={layer!r}: {suggestion(layer, layers)}")
    return layer or [BEFORE_THE_HEAD, *maps_of(run)][-1]


def chosen_units(run: SavedRun, layer: str, units: Sequence[int], count: int) -> np.ndarray:
    """The units of a layer, the channels of a map; without any, the first `count`.

    Raises:
      UserError: the layer has no such unit.
    """
    width = layers_of(run)[layer][-1]
    if wrong := [unit for unit in units if not 0 <= unit < width]:
        raise UserError(f"units={wrong[0]}: {layer} has {width} units, 0 to {width - 1}")
    return np.array(units or range(min(count, width)))


def seen_by(image: np.ndarray, reach: Reach | Everything, position: Sequence[int]) -> np.ndarray:
    """The part of an image in the receptive field of a unit at (row, column) of its map.

    Returns:
      (rows, columns, channels), floats: as large as the field, or as the image where that is
      smaller; NaN beyond the image, and outside the field.
    """
    if not isinstance(reach, Reach):
        return image.astype(float)
    known, index = [], []
    for box, size in zip(reach.box(position), image.shape[:2], strict=True):
        whole = box.stop - box.start >= size
        pixels = np.arange(0, size) if whole else np.arange(box.start, box.stop)
        known.append((pixels >= max(box.start, 0)) & (pixels < min(box.stop, size)))
        index.append(pixels.clip(0, size - 1))
    part = image[np.ix_(*index)].astype(float)
    part[~np.outer(*known)] = np.nan
    return part


def field_in_words(reach: Reach | Everything) -> str:
    """The size of a receptive field."""
    if isinstance(reach, Reach):
        return f"{reach.field[0]}×{reach.field[1]} pixels"
    return "the whole image"
