"""The parts of images that excite units most.

Zeiler & Fergus 2014, Visualizing and understanding convolutional networks; Girshick et al. 2014, Rich
feature hierarchies for accurate object detection.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.diagnose.inside.images import shown
from jaxcnn.diagnose.inside.layers import (
    chosen_layer,
    chosen_units,
    field_in_words,
    seen_by,
)
from jaxcnn.diagnose.inside.strongest import strongest
from jaxcnn.diagnose.neighbours import pixels_at
from jaxcnn.diagnose.pictures import label_names
from jaxcnn.diagnose.receptive_field import reaches_of
from jaxcnn.plots.patches import draw_patches
from jaxcnn.train.saved_run import SavedRun


def patches(
    run: SavedRun,
    layer: str = "",
    units: Sequence[int] = (),
    split: str = "train",
    count: int = 8,
) -> Figure:
    """The receptive fields that excite each unit of a layer most, at most one of an image.

    Args:
      layer: by default the last feature map.
      units: by default the first eight.
      count: fields of each unit.

    Raises:
      UserError: there is no such layer, unit or split.
    """
    layer = chosen_layer(run, layer)
    units = chosen_units(run, layer, units, 8)
    dataset = run.dataset(split, {})
    activations, places = strongest(run, dataset, split, layer, units)
    reach = reaches_of(run.model, run.variables, run.spec.image_shape)[layer]
    labels = np.asarray(dataset.splits[split].labels)
    rows, titles = [], []
    for unit in range(len(units)):
        best = np.argsort(-activations[:, unit], kind="stable")[:count]
        images = shown(pixels_at(dataset, split, best), run.spec)
        there = zip(images, places[best, unit], strict=True)
        rows.append([seen_by(image, reach, place) for image, place in there])
        numbers = activations[best, unit]
        names = label_names(labels[best], dataset)
        titles.append([f"{name}\n{n:.3g}" for name, n in zip(names, numbers, strict=True)])
    beyond = any(np.isnan(part).any() for parts in rows for part in parts)
    kind = "target" if run.spec.targets else "class"
    heading = (
        f"{run.config.model.name}, {layer}: what excites each unit most in {len(labels):,} {split} "
        f"images\n({kind}, activation; receptive field: {field_in_words(reach)}"
        f"{'; pale blue: beyond the image' if beyond else ''})"
    )
    return draw_patches(rows, [f"unit {unit}" for unit in units], titles, heading)
