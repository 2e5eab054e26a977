"""torchvision's names for the layers of its networks, and timm's for those that torchvision lacks.

jaxcnn's name is a path of modules, 'stage1_block1/conv1'; torchvision's is 'layer1.0.conv1'.
"""

import re
from collections.abc import Callable

from jaxcnn.errors import UserError
from jaxcnn.models.alexnet import AlexNet
from jaxcnn.models.classifier import Classifier
from jaxcnn.models.densenet import DenseNet
from jaxcnn.models.inception import GoogLeNet, InceptionV3
from jaxcnn.models.inception_v4 import InceptionResNetV2, InceptionV4
from jaxcnn.models.resnet import ResNet
from jaxcnn.models.vgg import VGG

# Each rule is a pattern and its replacement; the first pattern that matches a path applies.
Rules = list[tuple[str, str | Callable[[re.Match], str]]]


def namer(model: Classifier) -> Callable[[str], str]:
    """A function that maps the path of a layer to its name in a torch state dict.

    Raises:
      UserError: neither torchvision nor timm has such a model.
    """
    if type(model) not in _RULES:
        known = ", ".join(cls.__name__ for cls in _RULES)
        raise UserError(
            f"torch has no common names for the weights of a {type(model).__name__}, only for {known}"
        )
    rules = _RULES[type(model)](model)

    def name(path: str) -> str:
        for pattern, replacement in rules:
            named, count = re.subn(f"^{pattern}$", replacement, path)
            if count:
                return named
        raise UserError(f"torch's {type(model).__name__} has no layer for {path}")

    return name


def not_in_torch(model: Classifier) -> list[str]:
    """The settings with which the model computes a different function than torch's network."""
    alike = {
        "activation": "relu",
        "norm_epsilon": type(model).norm_epsilon,
        "local_response": False,
        "pointwise": False,
        "stride_in_1x1": False,
    }
    return [
        f"{setting}={getattr(model, setting)!r}"
        for setting, value in alike.items()
        if getattr(model, setting, value) != value
    ]


def common_spelling(model: Classifier, name: str) -> str:
    """A tensor's name as torchvision spells it today.

    Older torchvision DenseNets use `norm.1` for `norm1`; CIFAR ResNets use `fc` or `linear`, and
    `downsample` or `shortcut`; timm's VGGs use `pre_logits.fc1`, `pre_logits.fc2` and `head.fc`.
    """
    if isinstance(model, DenseNet):
        name = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name)
    if isinstance(model, ResNet):
        name = name.replace(".shortcut.", ".downsample.")
        name = re.sub(r"^(fc|linear)\.", f"{_resnet_head(model)}.", name)
    if isinstance(model, VGG):
        for theirs, ours in ((r"pre_logits\.fc1", 0), (r"pre_logits\.fc2", 3), (r"head\.fc", 6)):
            name = re.sub(rf"^{theirs}\.", f"classifier.{ours}.", name)
    return name


def _resnet_head(model: ResNet) -> str:
    return "linear" if model.stem == "cifar" else "fc"


def _resnet(model: ResNet) -> Rules:
    def block(rest: str) -> Callable[[re.Match], str]:
        return lambda m: f"layer{m[1]}.{int(m[2]) - 1}.{m.expand(rest)}"

    return [
        ("stem_conv", "conv1"),
        ("stem_norm", "bn1"),
        (r"stage(\d+)_block(\d+)/conv(\d)", block(r"conv\3")),
        (r"stage(\d+)_block(\d+)/norm(\d)", block(r"bn\3")),
        (r"stage(\d+)_block(\d+)/shortcut_conv", block("downsample.0")),
        (r"stage(\d+)_block(\d+)/shortcut_norm", block("downsample.1")),
        ("head", _resnet_head(model)),
    ]


def _densenet(model: DenseNet) -> Rules:
    return [
        ("stem_(conv|norm)", r"features.\g<1>0"),
        (r"stage(\d+)_layer(\d+)/(\w+\d)", r"features.denseblock\1.denselayer\2.\3"),
        (r"transition(\d+)_(\w+)", r"features.transition\1.\2"),
        ("norm", f"features.norm{len(model.stage_sizes) + 1}"),
        ("head", "classifier"),
    ]


def _vgg(model: VGG) -> Rules:
    layers_per_conv = 3 if model.norm != "none" else 2
    before = [sum(model.stage_sizes[:i]) for i in range(len(model.stage_sizes))]

    def feature(m: re.Match) -> str:
        stage, i = int(m[1]) - 1, int(m[3]) - 1
        conv = (before[stage] + i) * layers_per_conv + stage
        return f"features.{conv + (m[2] == 'norm')}"

    classifier = {"fc6": "classifier.0", "fc7": "classifier.3", "head": "classifier.6"}
    return [(r"stage(\d+)_(conv|norm)(\d+)", feature), *classifier.items()]


def _alexnet(model: AlexNet) -> Rules:
    features = {1: 0, 2: 3, 3: 6, 4: 8, 5: 10}
    classifier = {"fc6": "classifier.1", "fc7": "classifier.4", "head": "classifier.6"}
    return [(r"conv(\d)", lambda m: f"features.{features[int(m[1])]}"), *classifier.items()]


def _googlenet(model: GoogLeNet) -> Rules:
    def step(m: re.Match) -> str:
        return f"{m[1]}.{m[2]}.{int(m[3]) - 1}.{_LAYER[m[4]]}"

    return [
        (r"aux(\d)_conv/(\w+)", lambda m: f"aux{m[1]}.conv.{_LAYER[m[2]]}"),
        (r"aux(\d)_fc", r"aux\1.fc1"),
        (r"aux(\d)_head", r"aux\1.fc2"),
        (r"(inception\w+)/(branch4)/(\w+)", lambda m: f"{m[1]}.{m[2]}.1.{_LAYER[m[3]]}"),
        (r"(inception\w+)/(branch\d)_(\d)/(\w+)", step),
        (r"(inception\w+)/(branch\d)/(\w+)", lambda m: f"{m[1]}.{m[2]}.{_LAYER[m[3]]}"),
        (r"(conv\d)/(\w+)", lambda m: f"{m[1]}.{_LAYER[m[2]]}"),
        ("head", "fc"),
    ]


def _inception_v3(model: InceptionV3) -> Rules:
    kernels = {"1a": "3x3", "2a": "3x3", "2b": "3x3", "3b": "1x1", "4a": "3x3"}
    return [
        (r"conv(\d\w)/(\w+)", lambda m: f"Conv2d_{m[1]}_{kernels[m[1]]}.{_LAYER[m[2]]}"),
        (r"mixed(\w+)/(\w+)/(\w+)", lambda m: f"Mixed_{m[1]}.{m[2]}.{_LAYER[m[3]]}"),
        (r"aux_(conv\d)/(\w+)", lambda m: f"AuxLogits.{m[1]}.{_LAYER[m[2]]}"),
        ("aux_head", "AuxLogits.fc"),
        ("head", "fc"),
    ]


def _inception_v4(model: InceptionV4) -> Rules:
    first, second, _ = model.stage_sizes
    after_first, after_second = 6 + first, 7 + first + second
    before = {
        "stage1": 5,
        "reduction1": after_first,
        "stage2": after_first,
        "reduction2": after_second,
        "stage3": after_second,
    }

    def module(m: re.Match) -> str:
        place, block = m[1], int(m[2] or 0)
        numbered = re.fullmatch(r"(branch[12])_(\d)([ab]?)", m[3])
        if place == "stage3" and numbered:  # these branches are not sequences in timm
            branch, number, side = numbered.groups()
            steps = f"{branch}_{int(number) - 1}{side}.{_LAYER[m[4]]}"
        else:
            steps = _nested_steps(m[3], m[4])
        return f"features.{before[place] + block}.{steps}"

    return [
        (r"stem_conv(\d)/(\w+)", lambda m: f"features.{int(m[1]) - 1}.{_LAYER[m[2]]}"),
        (r"stem_mixed1/branch1/(\w+)", lambda m: f"features.3.conv.{_LAYER[m[1]]}"),
        (r"stem_mixed2/(\w+)/(\w+)", lambda m: f"features.4.{_nested_steps(m[1], m[2])}"),
        (r"stem_mixed3/branch0/(\w+)", lambda m: f"features.5.conv.{_LAYER[m[1]]}"),
        (r"(stage\d|reduction\d)(?:_block(\d+))?/(\w+)/(\w+)", module),
        ("head", "last_linear"),
    ]


def _inception_resnet_v2(model: InceptionResNetV2) -> Rules:
    stem = {"1": "1a", "2": "2a", "3": "2b", "4": "3b", "5": "4a"}
    mixed = {"mixed5b": "mixed_5b", "reduction1": "mixed_6a", "reduction2": "mixed_7a"}
    repeats = {"1": "repeat", "2": "repeat_1", "3": "repeat_2"}

    last = str(model.stage_sizes[2])

    def block(m: re.Match) -> str:
        is_last = m[1] == "3" and m[2] == last
        where = "block8" if is_last else f"{repeats[m[1]]}.{int(m[2]) - 1}"
        return f"{where}.{_nested_steps(m[3], m[4]) if m[3] else 'conv2d'}"

    return [
        (r"stem_conv(\d)/(\w+)", lambda m: f"conv2d_{stem[m[1]]}.{_LAYER[m[2]]}"),
        (r"(\w+\d\w*)/(branch\w+)/(\w+)", lambda m: f"{mixed[m[1]]}.{_nested_steps(m[2], m[3])}"),
        (r"stage(\d)_block(\d+)/(?:branches/(\w+)/(\w+)|conv)", block),
        (r"conv7b/(\w+)", lambda m: f"conv2d_7b.{_LAYER[m[1]]}"),
        ("head", "classif"),
    ]


def _nested_steps(branch: str, layer: str) -> str:
    """'branch1_2', 'conv' → 'branch1.1.conv', for branches that are sequences in timm.

    The only convolution of branch3 follows a pooling, so it is the second step of the sequence.
    """
    if branch == "branch3":
        return f"branch3.1.{_LAYER[layer]}"
    name, _, number = branch.partition("_")
    return f"{name}.{int(number) - 1}.{_LAYER[layer]}" if number else f"{name}.{_LAYER[layer]}"


_LAYER = {"conv": "conv", "norm": "bn"}

_RULES: dict[type, Callable[..., Rules]] = {
    AlexNet: _alexnet,
    VGG: _vgg,
    GoogLeNet: _googlenet,
    InceptionV3: _inception_v3,
    InceptionV4: _inception_v4,
    InceptionResNetV2: _inception_resnet_v2,
    ResNet: _resnet,
    DenseNet: _densenet,
}
