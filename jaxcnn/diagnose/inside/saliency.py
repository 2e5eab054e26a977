"""Where an image decides an output: the gradient by pixel, and Grad-CAM."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.diagnose.inside.gradients import grad_cam, saliency_of
from jaxcnn.diagnose.inside.images import Images, images_of, shown
from jaxcnn.diagnose.inside.layers import chosen_map, maps_of
from jaxcnn.plots.saliency import draw_saliency
from jaxcnn.train.saved_run import SavedRun


def saliency(
    run: SavedRun,
    images: Sequence[str | Path] = (),
    split: str = "test",
    count: int = 4,
    layer: str = "",
) -> Figure:
    """Images, their gradients and Grad-CAM, by the predicted class; of a mistake, by the true one too.

    Of a regression, by the first output.

    Args:
      images: files; without any, `count` images of the split.
      layer: of Grad-CAM, by default the last feature map. A network without any has the gradient alone.

    Raises:
      UserError: an image cannot be read, or there is no such layer or split.
    """
    layer = chosen_map(run, layer, -1) if layer or maps_of(run) else ""
    given = images_of(run, images, split, count)
    which, outputs, names = _explained(run, given)
    pixels = given.pixels[which]
    maps = grad_cam(run, pixels, outputs, layer) if layer else None
    by = f"Grad-CAM at {layer}" if layer else "no feature map, so no Grad-CAM"
    return draw_saliency(
        shown(pixels, run.spec),
        names,
        saliency_of(run, pixels, outputs),
        maps,
        f"{run.config.model.name}: gradient of the output by pixel; {by}\n"
        "(each scaled to its own largest value)",
    )


def _explained(run: SavedRun, given: Images) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Of each row: the image, int; the output, int; what they are, in words."""
    answers = run.predict(given.pixels)
    if run.spec.targets:
        first = np.zeros(len(answers), np.int32)
        texts = [f"{answer.ravel()[0]:.3g}" for answer in answers]
        if given.labels is not None:
            texts = [f"{text}\n(is {name})" for text, name in zip(texts, given.names, strict=True)]
        return np.arange(len(answers)), first, texts
    rows = []
    for image, probabilities in enumerate(answers):
        predicted = int(probabilities.argmax())
        true = predicted if given.labels is None else int(given.labels[image])
        for output in dict.fromkeys((predicted, true)):
            said = "predicted" if output == predicted else "true class"
            name, share = run.spec.class_names[output], probabilities[output]
            rows.append((image, output, f"{given.names[image]}\n{said}: {name}\n{share:.0%}"))
    which, outputs, texts = zip(*rows, strict=True)
    return np.array(which), np.array(outputs, np.int32), list(texts)
