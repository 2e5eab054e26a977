"""jaxcnn: train convolutional image classifiers with JAX and Flax."""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.2.0.dev0"

# The module of each public name. It is imported on first use, so `jaxcnn --help` need not load JAX.
_HOME = {
    "UserError": "errors",
    "create_model": "models",
    "default_config": "config",
    "evaluate": "train.saved_run",
    "features": "models",
    "list_models": "models",
    "load_config": "train.experiment",
    "load_model": "train.pretrained",
    "load_run": "train.saved_run",
    "predict": "train.saved_run",
    "register_augmentation": "data.augment.table",
    "register_loss": "train.losses",
    "register_model": "models",
    "register_observer": "train.observers",
    "register_optimizer": "optim.optimizers",
    "register_schedule": "optim.schedules",
    "register_source": "data.sources.table",
    "resolve": "train.experiment",
}
__all__ = [
    "UserError",
    "create_model",
    "default_config",
    "evaluate",
    "features",
    "list_models",
    "load_config",
    "load_model",
    "load_run",
    "predict",
    "register_augmentation",
    "register_loss",
    "register_model",
    "register_observer",
    "register_optimizer",
    "register_schedule",
    "register_source",
    "resolve",
    "train",
]

if TYPE_CHECKING:
    from jaxcnn.config import default_config
    from jaxcnn.data.augment.table import register_augmentation
    from jaxcnn.data.sources.table import register_source
    from jaxcnn.errors import UserError
    from jaxcnn.models import create_model, features, list_models, register_model
    from jaxcnn.optim.optimizers import register_optimizer
    from jaxcnn.optim.schedules import register_schedule
    from jaxcnn.train.experiment import load_config, resolve
    from jaxcnn.train.losses import register_loss
    from jaxcnn.train.observers import register_observer
    from jaxcnn.train.pretrained import load_model
    from jaxcnn.train.saved_run import evaluate, load_run, predict
    from jaxcnn.train.start import train


def __getattr__(name: str):
    if name == "train":  # the package, which is callable
        return importlib.import_module("jaxcnn.train")
    if name in _HOME:
        return getattr(importlib.import_module(f"jaxcnn.{_HOME[name]}"), name)
    raise AttributeError(f"module 'jaxcnn' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
