"""The architectures: one file per family, and the registry that makes them by name."""

from jaxcnn.models.registry import MODELS, create_model, list_models

__all__ = ["MODELS", "create_model", "list_models"]
