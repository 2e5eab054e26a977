"""Every model of the registry: what it must count, and a small one of its kind that is quick to run."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import create_model
from jaxcnn.models import MODELS, PUBLISHED_FOR

# Trained parameters for the task that the model was published for. The four by formula:
_MLP = (784 + 1) * 256 + (256 + 1) * 128 + (128 + 1) * 10
_SIMPLE_CNN = (9 + 1) * 32 + 2 * 32 + (9 * 32 + 1) * 64 + 2 * 64 + (49 * 64 + 1) * 128 + 129 * 10


def _preact(stage_sizes, width, bottleneck):
    """A pre-activation ResNet on 3×224×224: stem, blocks, a last norm, the head."""
    out_of = 4 if bottleneck else 1
    count, channels = 3 * 49 * width, width
    for stage, size in enumerate(stage_sizes):
        w = width * 2**stage
        for block in range(size):
            out = w * out_of
            norms, convs = (
                (channels + 2 * w, channels * w + 9 * w * w + w * out)
                if bottleneck
                else (channels + w, 9 * channels * w + 9 * w * w)
            )
            changes = channels != out or (stage > 0 and block == 0)
            count += 2 * norms + convs + (channels * out if changes else 0)
            channels = out
    return count + 2 * channels + (channels + 1) * 1000


# The catalogue's: from the papers' definitions, torchvision's and timm's own counts.
COUNTS = {
    "linear": (784 + 1) * 10,
    "mlp": _MLP,
    "simple_cnn": _SIMPLE_CNN,
    "lenet5": 61_706,
    "alexnet": 61_100_840,
    "alexnet_2012": 60_965_224,
    "zfnet": 62_357_608,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "vgg11_lrn": 132_863_336,
    "vgg16_c": 133_638_952,
    "googlenet": 6_624_904,
    "inception_v3": 23_834_568,
    "inception_v4": 42_679_816,
    "inception_resnet_v2": 55_843_464,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "plain18": 11_515_688,
    "plain34": 21_623_848,
    "resnet20_cifar": 269_722,
    "resnet32_cifar": 464_154,
    "resnet44_cifar": 658_586,
    "resnet56_cifar": 853_018,
    "resnet110_cifar": 1_727_962,
    "resnet1202_cifar": 19_421_274,
    "plain20_cifar": 269_722,
    "plain32_cifar": 464_154,
    "plain44_cifar": 658_586,
    "plain56_cifar": 853_018,
    "preact_resnet18": _preact((2, 2, 2, 2), 64, bottleneck=False),
    "preact_resnet34": _preact((3, 4, 6, 3), 64, bottleneck=False),
    "preact_resnet50": _preact((3, 4, 6, 3), 64, bottleneck=True),
    "preact_resnet164_cifar": 1_703_258,
    "preact_resnet1001_cifar": 10_327_706,
    "wide_resnet16_8": 10_961_370,
    "wide_resnet28_10": 36_479_194,
    "wide_resnet40_4": 8_949_210,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    "resnext29_8x64d": 34_426_698,
    "resnext29_16x64d": 68_155_210,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "densenet40_12": 1_019_722,
    "densenet100_12": 6_979_642,
    "densenet_bc100_12": 769_162,
    "densenet_bc250_24": 15_324_406,
    "densenet_bc190_40": 25_624_430,
}

# The smallest that has all parts, by class: settings, and pixels on a side.
_SMALL = {
    "Linear": ({}, 8),
    "MLP": ({"widths": (8,)}, 8),
    "SimpleCNN": ({"widths": (4, 4), "hidden": 8}, 8),
    "LeNet5": ({}, 32),
    "AlexNet": ({"hidden": 8}, 63),
    "AlexNet2012": ({"hidden": 8}, 67),
    "ZFNet": ({"hidden": 8}, 53),
    "VGG": ({"stage_sizes": (1, 1, 3, 1, 1), "width": 4, "hidden": 8, "pool_size": 2}, 64),
    "GoogLeNet": ({"aux_heads": True}, 32),
    "InceptionV3": ({}, 75),
    "InceptionV4": ({"stage_sizes": (1, 1, 1)}, 75),
    "InceptionResNetV2": ({"stage_sizes": (1, 1, 1)}, 75),
    "ResNet": ({"width": 8}, 32),
    "PreActResNet": ({"width": 4}, 32),
    "DenseNet": ({"growth_rate": 4, "stem_width": 8}, 32),
}


def small(name: str, **fields):
    """A small model of the kind that `name` is, and its images' shape."""
    (_, _, channels), _ = PUBLISHED_FOR[name]
    of_class, size = _SMALL[type(create_model(name, num_classes=1)).__name__]
    settings = MODELS.settings(name)
    sizes = {}
    if "stage_sizes" in settings and "stage_sizes" not in of_class:
        depth = 2 if "densenet" in name else 1
        sizes["stage_sizes"] = (depth,) * len(settings["stage_sizes"])
    if settings.get("widen_factor", 1) > 1:
        sizes["widen_factor"] = 2
    if settings.get("cardinality", 1) == 32:
        sizes["width"] = 16
    model = create_model(name, num_classes=10, **{**of_class, **sizes, **fields})
    return model, (size, size, channels)


def kinds() -> dict[str, str]:
    """One name for each small model that is like no other: depth is all that the others differ in."""
    found = {}
    for name in COUNTS:
        found.setdefault(repr(small(name)), name)
    return {name: name for name in found.values()}


def variables_for(model, image_shape) -> dict:
    """Variables of the right shapes, drawn by NumPy: quicker than compiling the model's own init."""
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, *image_shape)), train=False)
    )
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if leaf.ndim == 1:
            around = 1 if path[-1].key in ("scale", "var") else 0
            return (around + 0.1 * rng.random(leaf.shape)).astype(np.float32)
        deviation = np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return (deviation * rng.standard_normal(leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


# Compiler options for programs that run once: together they halve the time that XLA takes.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
