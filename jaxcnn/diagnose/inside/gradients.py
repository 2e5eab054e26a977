"""The gradient of an output with respect to the image, and to a layer on the way to it."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, DropVar, jaxpr_as_fun

from jaxcnn.models.classifier import Classifier
from jaxcnn.programs import made_once
from jaxcnn.train.extraction import batch_of
from jaxcnn.train.saved_run import SavedRun


def saliency_of(run: SavedRun, pixels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """|∂ output / ∂ pixel|, the largest of an image pixel's channels. Simonyan et al. 2014 §3.

    An output is a class's score, before the softmax; of a regression, a target.

    Args:
      pixels: (images, height, width, channels), as they are stored.
      outputs: (images,), int: which output of each image.

    Returns:
      float32 (images, height, width), by the normalised pixels.
    """
    batch = batch_of(run, pixels, output=outputs)
    gradient = np.asarray(_image_gradient(run.model)(run.variables, batch))[: len(pixels)]
    return np.abs(gradient).max(axis=-1)


def grad_cam(run: SavedRun, pixels: np.ndarray, outputs: np.ndarray, layer: str) -> np.ndarray:
    """Grad-CAM, Selvaraju et al. 2017: where a layer's map argues for an output.

    It is max(0, Σ αₖ·Aₖ) over the channels of the map A, where αₖ is the mean over the map of
    ∂ output / ∂ Aₖ.

    Args:
      pixels, outputs: as `saliency_of`.
      layer: a feature map.

    Returns:
      float32 (images, map's height, map's width).
    """
    batch = batch_of(run, pixels, output=outputs)
    return np.asarray(_grad_cam(run.model, layer)(run.variables, batch))[: len(pixels)]


def after(
    model: Classifier, variables: Mapping, images: jax.Array, layer: str
) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
    """The value of a layer, and the function from such values to the logits; traceable.

    The network is traced, and its program then run with another value in the place of the layer's: so
    nothing in a network has to provide for it.
    """

    def forward(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, seen = model.apply(variables, images, train=False, mutable=["intermediates"])
        return seen["intermediates"][layer][0], logits

    program = jax.make_jaxpr(forward)(images)
    here, logits = program.jaxpr.outvars
    given = [
        eqn.replace(outvars=[DropVar(v.aval) if v is here else v for v in eqn.outvars])
        for eqn in program.jaxpr.eqns
    ]
    rest = program.jaxpr.replace(invars=[*program.jaxpr.invars, here], outvars=[logits], eqns=given)
    compute, compute_rest = map(jaxpr_as_fun, (program, ClosedJaxpr(rest, program.consts)))
    return compute(images)[0], lambda value: compute_rest(images, value)[0]


def _of_each(logits: jax.Array, outputs: jax.Array) -> jax.Array:
    """The sum of one output of each image: no image's output depends on another image."""
    return jnp.take_along_axis(logits, outputs[:, None], axis=1).sum()


@made_once
def _image_gradient(model: Classifier) -> Callable[[Mapping, dict], jax.Array]:
    @jax.jit
    def gradient(variables: Mapping, batch: dict) -> jax.Array:
        def output(images: jax.Array) -> jax.Array:
            return _of_each(model.apply(variables, images, train=False), batch["output"])

        return jax.grad(output)(batch["image"])

    return gradient


@made_once
def _grad_cam(model: Classifier, layer: str) -> Callable[[Mapping, dict], jax.Array]:
    @jax.jit
    def cam(variables: Mapping, batch: dict) -> jax.Array:
        value, logits_after = after(model, variables, batch["image"], layer)
        slope = jax.grad(lambda value: _of_each(logits_after(value), batch["output"]))(value)
        value, slope = value.astype(jnp.float32), slope.astype(jnp.float32)
        weights = slope.mean(axis=(1, 2), keepdims=True)
        return jax.nn.relu((weights * value).sum(axis=-1))

    return cam
