"""What is known of weights beside their numbers, as texts in a file's metadata."""

import json
from collections.abc import Mapping
from typing import Any

import jaxcnn
from jaxcnn.errors import UserError

# As data.spec.DataSpec has them: the classes in order; images become (pixel − mean)/std.
ABOUT = ("class_names", "image_shape", "mean", "std", "pixel_dtype")


def to_metadata(about: Mapping[str, Any]) -> dict[str, str]:
    """The model's name and what else is known, each a text: JSON, if it is no text."""
    known = {key: about[key] for key in ("model", *ABOUT) if about.get(key)}
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in known.items()}
    return {**texts, "jaxcnn_version": jaxcnn.__version__}


def from_metadata(metadata: Mapping[str, str], source: str) -> dict[str, Any]:
    """What `to_metadata` wrote; nothing where another program wrote the file.

    Raises:
      UserError: a text is damaged.
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
