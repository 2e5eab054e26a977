"""jaxcnn: train convolutional image classifiers with JAX and Flax."""

import importlib

__version__ = "0.1.0"

_HOME = {
    "create_model": "jaxcnn.models",
    "features": "jaxcnn.models",
    "list_models": "jaxcnn.models",
    "load_model": "jaxcnn.train.pretrained",
    "default_config": "jaxcnn.config",
    "UserError": "jaxcnn.errors",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    # Loaded on first use, so that `jaxcnn --help` does not wait for JAX.
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'jaxcnn' has no attribute '{name}'")
