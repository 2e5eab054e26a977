"""The receptive fields of a network's stages, over an image."""

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.data.sources.decoding import Decoder, read_image
from jaxcnn.diagnose.inside.layers import check_has_maps, maps_among
from jaxcnn.diagnose.receptive_field import Reach, reaches_of
from jaxcnn.errors import UserError
from jaxcnn.models.classifier import Classifier, abstract_variables, feature_shapes
from jaxcnn.plots.fields import draw_fields

_SQUARES = 8  # along the image's shorter side


def receptive_fields(name: str, model: Classifier, image: np.ndarray) -> Figure:
    """The receptive field of the unit in the middle of each feature map.

    Args:
      image: (height, width, 1 or 3), in [0, 1].

    Raises:
      UserError: the network has no feature maps.
    """
    variables = abstract_variables(model, image.shape)
    maps = maps_among(feature_shapes(model, variables, image.shape))
    check_has_maps(name, maps)
    reaches = reaches_of(model, variables, image.shape)
    boxes = {
        layer: reaches[layer].box([size // 2 for size in shape[:2]])
        for layer, shape in maps.items()
        if isinstance(reaches[layer], Reach)
    }
    heading = f"{name}: receptive field of the unit in the middle of each map"
    return draw_fields(image, boxes, heading)


def image_for(image_shape: tuple[int, int, int], path: str | None) -> np.ndarray:
    """An image (height, width, channels) in [0, 1]: a file, scaled; without one, squares.

    Raises:
      UserError: the file cannot be read or has another shape, or such an image cannot be drawn.
    """
    height, width, channels = image_shape
    if channels not in (1, 3):
        raise UserError(f"images of {channels} channels cannot be drawn; 1 or 3 can")
    if not path:
        rows, columns = np.indices((height, width)) // max(1, min(height, width) // _SQUARES)
        squares = np.where((rows + columns) % 2, 0.82, 0.94)
        return np.repeat(squares[..., None], channels, axis=-1)
    image = read_image(Decoder(height if height == width else 0, channels), path)
    if image.shape != image_shape:
        raise UserError(
            f"image={path} has {image.shape[0]}×{image.shape[1]} pixels, not {height}×{width}"
        )
    return image / 255
