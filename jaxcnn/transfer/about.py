"""Facts about a model's weights (classes, image shape, …), stored as strings in a file's metadata."""

import json
from collections.abc import Mapping
from typing import Any

import jaxcnn
from jaxcnn.errors import UserError

# Same as in data.spec.DataSpec: the classes in order; images become (pixel − mean)/std.
ABOUT = ("class_names", "image_shape", "mean", "std", "pixel_dtype")


def to_metadata(about: Mapping[str, Any]) -> dict[str, str]:
    """The model's name and the other known facts as strings; other types become JSON."""
    known = {key: about[key] for key in ("model", *ABOUT) if about.get(key)}
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in known.items()}
    return {**texts, "jaxcnn_version": jaxcnn.__version__}


def from_metadata(metadata: Mapping[str, str], source: str) -> dict[str, Any]:
    """Reads what `to_metadata` wrote; empty if another program wrote the file.

    Raises:
      UserError: a value is not valid.
    """
    if "jaxcnn_version" not in metadata:
        return {}
    about: dict[str, Any] = {k: metadata[k] for k in ("model", "pixel_dtype") if k in metadata}
    for key, kind in (("class_names", str), ("image_shape", int), ("mean", float), ("std", float)):
        if key in metadata:
            about[key] = _list_of(kind, key, metadata[key], source)
    return about


def _list_of(kind: type, key: str, text: str, source: str) -> list:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise UserError(
            f"{source}: the metadata {key}={text[:60]!r} must be a JSON list of {kind.__name__}"
        )
    return values
