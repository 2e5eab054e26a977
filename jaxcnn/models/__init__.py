"""The architectures: one file per family, and the registry that makes them by name."""

from jaxcnn.models.classifier import features
from jaxcnn.models.registry import (
    MODELS,
    PUBLISHED_FOR,
    count_parameters,
    create_model,
    list_models,
    published_for,
    register_model,
)

__all__ = [
    "MODELS",
    "PUBLISHED_FOR",
    "count_parameters",
    "create_model",
    "features",
    "list_models",
    "published_for",
    "register_model",
]
