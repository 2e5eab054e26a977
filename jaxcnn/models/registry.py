"""Every model by name. A new model is one line here."""

import fnmatch
from functools import partial

import flax.linen as nn

from jaxcnn.errors import UserError
from jaxcnn.models.lenet import LeNet5
from jaxcnn.models.mlp import MLP
from jaxcnn.models.resnet import CifarResNet
from jaxcnn.models.simple_cnn import SimpleCNN
from jaxcnn.registry import Registry

# `num_classes` comes from the data; `parent` and `name` are Flax's own.
MODELS = Registry("model", not_settings=("num_classes", "parent", "name"))

MODELS.register("linear", partial(MLP, widths=()))
MODELS.register("mlp", MLP)
MODELS.register("simple_cnn", SimpleCNN)
MODELS.register("lenet5", LeNet5)
MODELS.register("resnet20_cifar", partial(CifarResNet, stage_sizes=(3, 3, 3)))


def create_model(name: str, /, *, num_classes: int, **fields) -> nn.Module:
    """Makes a model.

    Args:
      name: one of `list_models()`.
      num_classes: width of the logits.
      **fields: the model's own fields; `jaxcnn.models.MODELS.settings(name)` gives their defaults.

    Returns:
      A module whose `apply(variables, images, train=…)` takes float images (batch, height, width,
      channels) and gives logits (batch, num_classes), in float32 unless `dtype` is float64.

    Raises:
      UserError: the model or a field does not exist, or `num_classes` is not at least 1.
    """
    if num_classes < 1:
        raise UserError(f"num_classes={num_classes} must be at least 1")
    return MODELS.create(name, num_classes=num_classes, **fields)


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern ('resnet*'), in alphabetical order."""
    return fnmatch.filter(MODELS.names(), pattern)
