"""Every model by name. A new model is one line here."""

import fnmatch
import inspect
import math
from collections.abc import Callable
from functools import partial

import jax

from jaxcnn.errors import UserError
from jaxcnn.models.alexnet import AlexNet, AlexNet2012, ZFNet
from jaxcnn.models.classifier import Classifier, abstract_variables
from jaxcnn.models.densenet import DenseNet
from jaxcnn.models.inception import GoogLeNet, InceptionV3
from jaxcnn.models.inception_v4 import InceptionResNetV2, InceptionV4
from jaxcnn.models.lenet import LeNet5
from jaxcnn.models.mlp import MLP, Linear
from jaxcnn.models.preact_resnet import PreActResNet
from jaxcnn.models.resnet import ResNet
from jaxcnn.models.simple_cnn import SimpleCNN
from jaxcnn.models.vgg import VGG
from jaxcnn.registry import Registry

# `num_classes` comes from the data, `replicas`, `layout` and `precision` from the devices, what is
# frozen from `config.transfer`; Flax adds `parent` and `name`.
MODELS = Registry(
    "model",
    not_settings=(
        "num_classes",
        "replicas",
        "layout",
        "precision",
        "frozen_statistics",
        "frozen_trunk",
        "parent",
        "name",
    ),
)

_COLLECTING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

# What a model was published for: the image (height, width, channels), and the number of classes.
Task = tuple[tuple[int, int, int], int]
FASHION: Task = ((28, 28, 1), 10)
MNIST: Task = ((32, 32, 1), 10)
CIFAR: Task = ((32, 32, 3), 10)
IMAGENET: Task = ((224, 224, 3), 1000)
IMAGENET_227: Task = ((227, 227, 3), 1000)
IMAGENET_299: Task = ((299, 299, 3), 1000)

PUBLISHED_FOR: dict[str, Task] = {}


def register_model(
    name: str, image_shape: tuple[int, int, int] | None = None, num_classes: int | None = None
) -> Callable[[Callable], Callable]:
    """A decorator that adds a `Classifier`, or a function that makes one, under a name.

    Args:
      image_shape, num_classes: the images (height, width, channels) and the number of classes that it
        was published for, where both are known.

    Raises:
      UserError: what it decorates is neither, takes no `num_classes`, or has a setting without a
        default; or the name is taken by another model.
    """
    if not isinstance(name, str):
        raise UserError(
            f"register_model={name!r} must be a name: @register_model('my_model') above the class"
        )

    def register(constructor: Callable) -> Callable:
        _check_makes_a_model(name, constructor)
        try:
            MODELS.register(name, constructor)
        except ValueError as error:
            raise UserError(f"{error}; give yours another name") from error
        PUBLISHED_FOR.pop(name, None)
        if image_shape and num_classes:
            PUBLISHED_FOR[name] = image_shape, num_classes
        return constructor

    return register


def _check_makes_a_model(name: str, constructor: Callable) -> None:
    """Refuses at once what would fail later, far from its cause."""
    made = f"model '{name}' must be a subclass of Classifier, or a function that makes one"
    if not callable(constructor) or (
        isinstance(constructor, type) and not issubclass(constructor, Classifier)
    ):
        kind = getattr(constructor, "__name__", repr(constructor))
        raise UserError(f"{made}, not {kind} (docs/own_parts.md shows how)")
    parameters = inspect.signature(constructor).parameters
    if "num_classes" not in parameters:
        raise UserError(f"model '{name}' must take num_classes, the width of its logits")
    for setting, parameter in parameters.items():
        required = parameter.default is parameter.empty and parameter.kind not in _COLLECTING
        if required and setting != "num_classes":
            raise UserError(
                f"model '{name}' has a setting without a default: {setting}; write {setting}=…"
            )


def published_for(name: str) -> Task:
    """The images and the number of classes that a model was published for.

    Raises:
      UserError: there is no such model, or it was registered without them.
    """
    MODELS.constructor(name, ())
    if name not in PUBLISHED_FOR:
        raise UserError(
            f"model '{name}' is registered without an image size and a number of classes; give both"
        )
    return PUBLISHED_FOR[name]


def _register(name: str, task: Task, constructor: Callable, **fields) -> None:
    register_model(name, *task)(partial(constructor, **fields) if fields else constructor)


_register("linear", FASHION, Linear)
_register("mlp", FASHION, MLP)
_register("simple_cnn", FASHION, SimpleCNN)
_register("lenet5", MNIST, LeNet5)

_register("alexnet", IMAGENET, AlexNet)
_register("alexnet_2012", IMAGENET_227, AlexNet2012)
_register("zfnet", IMAGENET, ZFNet)

_VGG = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
for _name, _sizes in _VGG.items():
    _register(_name, IMAGENET, VGG, stage_sizes=_sizes)
    _register(f"{_name}_bn", IMAGENET, VGG, stage_sizes=_sizes, norm="batch")
_register("vgg11_lrn", IMAGENET, VGG, stage_sizes=_VGG["vgg11"], local_response=True)
_register("vgg16_c", IMAGENET, VGG, stage_sizes=_VGG["vgg16"], pointwise=True)

_register("googlenet", IMAGENET, GoogLeNet)
_register("inception_v3", IMAGENET_299, InceptionV3)
_register("inception_v4", IMAGENET_299, InceptionV4)
_register("inception_resnet_v2", IMAGENET_299, InceptionResNetV2)

_bottleneck = partial(ResNet, bottleneck=True)
_register("resnet18", IMAGENET, ResNet, stage_sizes=(2, 2, 2, 2))
_register("resnet34", IMAGENET, ResNet, stage_sizes=(3, 4, 6, 3))
_register("resnet50", IMAGENET, _bottleneck, stage_sizes=(3, 4, 6, 3))
_register("resnet101", IMAGENET, _bottleneck, stage_sizes=(3, 4, 23, 3))
_register("resnet152", IMAGENET, _bottleneck, stage_sizes=(3, 8, 36, 3))
_register("plain18", IMAGENET, ResNet, stage_sizes=(2, 2, 2, 2), shortcut="none")
_register("plain34", IMAGENET, ResNet, stage_sizes=(3, 4, 6, 3), shortcut="none")
_register("wide_resnet50_2", IMAGENET, _bottleneck, stage_sizes=(3, 4, 6, 3), inner_factor=2)
_register("wide_resnet101_2", IMAGENET, _bottleneck, stage_sizes=(3, 4, 23, 3), inner_factor=2)
# 32 groups of 4 channels are twice the 64 channels of a ResNet's first stage, 32 of 8 four times.
_resnext = partial(ResNet, bottleneck=True, cardinality=32)
_register("resnext50_32x4d", IMAGENET, _resnext, stage_sizes=(3, 4, 6, 3), inner_factor=2)
_register("resnext101_32x8d", IMAGENET, _resnext, stage_sizes=(3, 4, 23, 3), inner_factor=4)

_cifar = partial(ResNet, width=16, stem="cifar", shortcut="pad")
for _depth in (20, 32, 44, 56, 110, 1202):
    _sizes = 3 * ((_depth - 2) // 6,)
    _register(f"resnet{_depth}_cifar", CIFAR, _cifar, stage_sizes=_sizes)
    if _depth <= 56:
        _register(f"plain{_depth}_cifar", CIFAR, _cifar, stage_sizes=_sizes, shortcut="none")
_resnext29 = partial(ResNet, stem="cifar", bottleneck=True, stage_sizes=(3, 3, 3))
_register("resnext29_8x64d", CIFAR, _resnext29, cardinality=8, inner_factor=8)
_register("resnext29_16x64d", CIFAR, _resnext29, cardinality=16, inner_factor=16)

_register("preact_resnet18", IMAGENET, PreActResNet, stage_sizes=(2, 2, 2, 2))
_register("preact_resnet34", IMAGENET, PreActResNet, stage_sizes=(3, 4, 6, 3))
_register("preact_resnet50", IMAGENET, PreActResNet, bottleneck=True, stage_sizes=(3, 4, 6, 3))
_preact = partial(PreActResNet, bottleneck=True, width=16, stem="cifar")
_register("preact_resnet164_cifar", CIFAR, _preact, stage_sizes=(18, 18, 18))
_register("preact_resnet1001_cifar", CIFAR, _preact, stage_sizes=(111, 111, 111))
_wide = partial(PreActResNet, width=16, stem="cifar")
_register("wide_resnet16_8", CIFAR, _wide, stage_sizes=(2, 2, 2), widen_factor=8)
_register("wide_resnet28_10", CIFAR, _wide, stage_sizes=(4, 4, 4), widen_factor=10)
_register("wide_resnet40_4", CIFAR, _wide, stage_sizes=(6, 6, 6), widen_factor=4)

_register("densenet121", IMAGENET, DenseNet, stage_sizes=(6, 12, 24, 16))
_register(
    "densenet161", IMAGENET, DenseNet, stage_sizes=(6, 12, 36, 24), growth_rate=48, stem_width=96
)
_register("densenet169", IMAGENET, DenseNet, stage_sizes=(6, 12, 32, 32))
_register("densenet201", IMAGENET, DenseNet, stage_sizes=(6, 12, 48, 32))
_dense = partial(DenseNet, stem="cifar", stem_width=16, bottleneck=False, compression=1.0)
_register("densenet40_12", CIFAR, _dense, stage_sizes=(12, 12, 12), growth_rate=12)
_register("densenet100_12", CIFAR, _dense, stage_sizes=(32, 32, 32), growth_rate=12)
for _depth, _growth in ((100, 12), (250, 24), (190, 40)):
    _register(
        f"densenet_bc{_depth}_{_growth}",
        CIFAR,
        DenseNet,
        stage_sizes=3 * ((_depth - 4) // 6,),
        growth_rate=_growth,
        stem_width=2 * _growth,
        stem="cifar",
    )


def create_model(
    name: str, /, *, num_classes: int, replicas: int | None = None, **fields
) -> Classifier:
    """Makes a model.

    Args:
      name: one of `list_models()`.
      num_classes: width of the logits.
      replicas: how many devices share a batch; for batch_norm_mode='per_replica' in training.
      **fields: the model's settings; `jaxcnn.models.MODELS.settings(name)` gives their defaults.

    Returns:
      A module whose `apply(variables, images, train=…)` takes float images (batch, height, width,
      channels) and gives logits (batch, num_classes), in float32 unless `dtype` is float64.

    Raises:
      UserError: the model or a field does not exist, a value is outside its limit, or what is
        registered under the name makes no `Classifier`.
    """
    MODELS.check(name, {"num_classes": num_classes, **fields})
    model = MODELS.create(name, num_classes=num_classes, **fields)
    if not isinstance(model, Classifier):
        raise UserError(
            f"model '{name}' must make a Classifier, not a {type(model).__name__} "
            "(docs/own_parts.md shows how)"
        )
    # A user's function need not take `replicas`.
    return model if replicas is None else model.clone(replicas=replicas)


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern ('resnet*'), in alphabetical order."""
    return fnmatch.filter(MODELS.names(), pattern)


def count_parameters(model: Classifier, image_shape: tuple[int, int, int]) -> int:
    """The number of trained parameters, for images (height, width, channels); nothing is computed."""
    variables = abstract_variables(model, image_shape)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
