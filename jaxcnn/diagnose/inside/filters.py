"""The kernels of the first layer."""

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.diagnose.summary import summarize
from jaxcnn.errors import UserError
from jaxcnn.plots.images import image_grid
from jaxcnn.train.saved_run import SavedRun


def filters(run: SavedRun) -> Figure:
    """The kernels of the first layer: of a convolution, or of a matrix that takes the whole image.

    Their colours are those of the image, on one scale with grey at 0. Kernels without 1 or 3 input
    channels are averaged over them.

    Raises:
      UserError: the first layer is neither.
    """
    name, kernels = _first(run)
    channels = kernels.shape[2]
    if channels not in (1, 3):
        kernels = kernels.mean(axis=2, keepdims=True)
    largest = float(np.abs(kernels).max())
    size = "×".join(map(str, kernels.shape[:2]))
    mean_of = "" if channels in (1, 3) else f", mean of {channels} channels"
    heading = (
        f"{run.config.model.name}, {name}: {kernels.shape[-1]} kernels of {size}{mean_of}\n"
        f"(grey is 0, black −{largest:.3g}, white +{largest:.3g})"
    )
    pictures = 0.5 + np.moveaxis(kernels, -1, 0) / max(2 * largest, 1e-12)
    return image_grid(pictures, columns=8 if len(pictures) <= 64 else 16, heading=heading)


def _first(run: SavedRun) -> tuple[str, np.ndarray]:
    """The name and the kernel, (height, width, channels, kernels), of the first layer."""
    model, shape = run.config.model.name, run.spec.image_shape
    layer = next(layer for layer in summarize(model, run.model, shape).layers if layer.parameters)
    entry = run.variables["params"]
    for part in layer.name.split("/"):
        entry = entry[part]
    kernel = np.asarray(entry.get("kernel", ()), np.float32)
    if kernel.ndim == 2 and len(kernel) == np.prod(shape):  # of the flattened image
        kernel = kernel.reshape(*shape, -1)
    if kernel.ndim != 4:
        raise UserError(f"the first layer of {model}, {layer.name}, has no kernel to draw")
    return layer.name, kernel
