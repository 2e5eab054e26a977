"""A directory with a model and its weights, without a run."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jaxcnn.errors import UserError
from jaxcnn.files import replacing
from jaxcnn.models.classifier import Classifier
from jaxcnn.models.registry import create_model
from jaxcnn.transfer.about import ABOUT

MODEL_FILE = "model.json"
WEIGHTS_FILE = "variables.safetensors"


def save_converted(
    directory: str | Path,
    name: str,
    num_classes: int,
    fields: Mapping,
    variables: Mapping,
    source: str,
    about: Mapping | None = None,
) -> None:
    """Writes `model.json`, the model's settings, and `variables.safetensors`, with jaxcnn's names.

    The directory is written atomically.

    Args:
      source: the name of the file the variables come from.
      about: whichever of the `about.ABOUT` fields are known.

    Raises:
      UserError: the directory already exists or cannot be written.
    """
    directory = Path(directory)
    refuse_existing(directory)
    flat = flatten_dict(variables, sep="/")
    weights = save({key: np.ascontiguousarray(value) for key, value in flat.items()})
    described = {
        "model": name,
        "num_classes": num_classes,
        "fields": dict(fields),
        "source": source,
        "sha256": hashlib.sha256(weights).hexdigest(),
        **{key: about[key] for key in ABOUT if about and key in about},
    }
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with replacing(directory) as partial:
            partial.mkdir()
            (partial / WEIGHTS_FILE).write_bytes(weights)
            (partial / MODEL_FILE).write_text(json.dumps(described, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"to={directory} cannot be written: {error.strerror}") from error


def refuse_existing(directory: str | Path) -> None:
    """Raises UserError if the directory already exists."""
    if Path(directory).exists():
        raise UserError(f"to={directory} already exists; it takes a new directory")


def load_converted(directory: str | Path) -> tuple[Classifier, dict, dict]:
    """The model, its variables as NumPy arrays, and its name with the known `about.ABOUT` fields.

    Raises:
      UserError: a file is missing or damaged.
    """
    directory = Path(directory)
    try:
        described = json.loads((directory / MODEL_FILE).read_text())
        fields = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in described["fields"].items()
        }
        model = create_model(described["model"], num_classes=described["num_classes"], **fields)
        weights = (directory / WEIGHTS_FILE).read_bytes()
        variables = unflatten_dict(load(weights), sep="/")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, UserError) as error:
        raise UserError(
            f"{directory} holds no converted model that can be read ({type(error).__name__})"
        ) from error
    if described.get("sha256", digest := hashlib.sha256(weights).hexdigest()) != digest:
        raise UserError(
            f"{directory / WEIGHTS_FILE} is damaged: its bytes are not those of model.json"
        )
    return model, variables, {key: described[key] for key in ("model", *ABOUT) if key in described}
