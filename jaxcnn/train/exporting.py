"""A trained network as one file that needs JAX alone, for those who serve it."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxcnn.cpu.forms import plain_forms
from jaxcnn.data.spec import DataSpec
from jaxcnn.models.classifier import Classifier
from jaxcnn.train.saved_run import SavedRun

PLATFORMS = ("cpu", "cuda", "tpu")


def exported(
    model: Classifier, variables: Mapping, spec: DataSpec, preprocessing: bool = False
) -> bytes:
    """A network with its weights, in evaluation mode, as serialised StableHLO.

    `jax.export.deserialize(content).call(images)` gives the outputs (images, outputs), logits or
    standardised targets, for any number of images, on the platforms of `PLATFORMS`.

    Arguments as `to_serve`.
    """
    answer, images = to_serve(model, variables, spec, preprocessing)
    with plain_forms():  # not those of the machine that exports
        return jax.export.export(jax.jit(answer), platforms=PLATFORMS)(images).serialize()


def to_serve(
    model: Classifier, variables: Mapping, spec: DataSpec, preprocessing: bool
) -> tuple[Callable[[jax.Array], jax.Array], jax.ShapeDtypeStruct]:
    """What an exported file computes: images → outputs; and the images, of which there is any number.

    Args:
      variables: {'params', 'batch_stats'}.
      spec: of the images.
      preprocessing: whether it takes pixels as they are stored (uint8 or float32), not normalised
        images (float32).
    """
    model = model.clone(replicas=None, layout=None, precision=None)
    weights = jax.tree.map(np.asarray, jax.device_get(variables))

    def answer(images: jax.Array) -> jax.Array:
        if preprocessing:
            images = (images.astype(jnp.float32) - spec.mean) * (1 / spec.std)
        return model.apply(weights, images, train=False)

    (count,) = jax.export.symbolic_shape("images")
    dtype = spec.pixel_dtype if preprocessing else "float32"
    return answer, jax.ShapeDtypeStruct((count, *spec.image_shape), dtype)


def description(run: SavedRun, preprocessing: bool) -> str:
    """What a file needs to be used, as JSON."""
    spec = run.spec
    about: dict[str, Any] = {
        "model": run.config.model.name,
        "step": run.step,
        "preprocessing": preprocessing,
        "takes": spec.pixel_dtype if preprocessing else "float32, (pixel - mean) / std",
        **{key: value for key, value in spec.to_json().items() if key != "sizes"},
    }
    return json.dumps(about, indent=2) + "\n"
