"""Converting weights: from torch's files to a directory of ours, and from there to a file again."""

from collections.abc import Mapping
from pathlib import Path

import jax
from safetensors.numpy import save

from jaxcnn.errors import UserError
from jaxcnn.files import write_bytes
from jaxcnn.models.classifier import Classifier
from jaxcnn.models.fit import check_fits
from jaxcnn.models.registry import create_model
from jaxcnn.transfer.converted import refuse_existing, save_converted
from jaxcnn.transfer.state_dict import (
    from_state_dict,
    num_classes_of,
    read_state_dict,
    to_state_dict,
)


def import_weights(
    name: str,
    source: str | Path,
    directory: str | Path,
    image_shape: tuple[int, int, int],
    fields: Mapping,
    classes_if_missing: int | None = None,
) -> tuple[Classifier, list[str]]:
    """Reads a torch state dict, and writes the model and its variables to a new directory.

    Args:
      name: the model; `fields` are its settings where they are not the defaults. The number of
        classes is that of the file's head.
      source: a `.safetensors` or torch file, with torchvision's names (timm's for what torchvision
        lacks).
      image_shape: (height, width, channels) of the images that the model is for.
      classes_if_missing: without it, tensors and variables must match one to one. With it, surplus
        tensors are left out, missing ones initialised (seed 0), and a missing head has that many
        classes.

    Returns:
      The model, and the names of tensors that were missing or left out.

    Raises:
      UserError: the file cannot be read or is not this model's, or the directory is there already.
    """
    refuse_existing(directory)
    tensors = read_state_dict(source)
    model = create_model(name, num_classes=1, **fields)
    num_classes = num_classes_of(model, tensors) or classes_if_missing
    if num_classes is None:
        raise UserError(f"{source} is no {name}: it has no head by that model's name for it")
    model = create_model(name, num_classes=num_classes, **fields)
    check_fits(name, model, image_shape, "input says for which images the model is")
    strict = classes_if_missing is None
    variables, differing = from_state_dict(model, tensors, image_shape, str(source), strict)
    save_converted(directory, name, num_classes, fields, variables, Path(source).name)
    return model, differing


def export_weights(model: Classifier, variables: Mapping, target: str | Path) -> int:
    """Writes a `.safetensors` file with torch's names and layouts; returns the number of tensors.

    Raises:
      UserError: torch has no names for this model's weights, or the file cannot be written.
    """
    target = Path(target)
    if target.suffix != ".safetensors":
        raise UserError(f"to={target} must end in .safetensors")
    tensors = to_state_dict(model, jax.device_get(variables))
    try:
        write_bytes(target, save(tensors))
    except OSError as error:
        raise UserError(f"to={target} cannot be written: {error.strerror}") from error
    return len(tensors)
