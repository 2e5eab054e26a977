import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxcnn import create_model, features
from jaxcnn.diagnose.fields import image_for, receptive_fields
from jaxcnn.diagnose.receptive_field import EVERYTHING, PIXEL, operations
from jaxcnn.diagnose.summary import summarize
from jaxcnn.models import PUBLISHED_FOR
from tests.models.zoo import COUNTS, small


@functools.cache
def published(name, **fields):
    shape, classes = PUBLISHED_FOR[name]
    return summarize(name, create_model(name, num_classes=classes, **fields), shape)


# Araujo, Norris & Sim 2019, Computing receptive fields of convolutional neural networks. Their ResNets
# have 2015's strides.
@pytest.mark.parametrize(
    ("name", "fields", "pixels"),
    [
        ("alexnet", {}, 195),
        ("vgg16", {}, 212),
        ("inception_v3", {}, 1311),
        ("inception_v4", {}, 2071),
        ("inception_resnet_v2", {}, 3039),
        ("resnet50", {"stride_in_1x1": True}, 483),
        ("resnet101", {"stride_in_1x1": True}, 1027),
        ("resnet152", {"stride_in_1x1": True}, 1507),
    ],
)
def test_published_receptive_fields(name, fields, pixels):
    assert published(name, **fields).receptive_field == (pixels, pixels)


# torchvision's, in 10⁹, to the two digits that it gives.
@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("resnet50", 4.09),
        ("vgg16", 15.47),
        ("densenet121", 2.83),
        ("inception_v3", 5.71),
        ("googlenet", 1.50),
        ("alexnet", 0.71),
    ],
)
def test_published_multiply_adds(name, billions):
    summary = published(name)
    assert round(summary.multiply_adds / 1e9, 2) == billions
    assert summary.parameters == COUNTS[name]


def field(layers):
    """The receptive field of (kernel, stride) layers, one after the other."""
    pixels, jump = 1, 1
    for kernel, stride in layers:
        pixels, jump = pixels + (kernel - 1) * jump, jump * stride
    return pixels


# What torchvision lacks: the shapes at the end of each stage, and the layers on the longest way.
_HALVED = [(3, 2), (3, 1)]


@pytest.mark.parametrize(
    ("name", "stages", "layers"),
    [
        ("resnet20_cifar", [(32, 16), (16, 32), (8, 64)],
         7 * [(3, 1)] + 2 * (_HALVED + 4 * [(3, 1)])),
        ("plain56_cifar", [(32, 16), (16, 32), (8, 64)],
         19 * [(3, 1)] + 2 * (_HALVED + 16 * [(3, 1)])),
        ("preact_resnet164_cifar", [(32, 64), (16, 128), (8, 256)],
         19 * [(3, 1)] + 2 * ([(3, 2)] + 17 * [(3, 1)])),
        ("wide_resnet28_10", [(32, 160), (16, 320), (8, 640)],
         9 * [(3, 1)] + 2 * (_HALVED + 6 * [(3, 1)])),
        ("resnext29_8x64d", [(32, 256), (16, 512), (8, 1024)],
         4 * [(3, 1)] + 2 * ([(3, 2)] + 2 * [(3, 1)])),
        ("densenet40_12", [(32, 160), (16, 304), (8, 448)],
         13 * [(3, 1)] + 2 * ([(2, 2)] + 12 * [(3, 1)])),
        ("densenet_bc100_12", [(32, 216), (16, 300), (8, 342)],
         17 * [(3, 1)] + 2 * ([(2, 2)] + 16 * [(3, 1)])),
        ("preact_resnet18", [(56, 64), (28, 128), (14, 256), (7, 512)],
         [(7, 2), (3, 2)] + 4 * [(3, 1)] + 3 * (_HALVED + 2 * [(3, 1)])),
        ("alexnet_2012", [(13, 256), (6, 256)],
         [(11, 4), (3, 2), (5, 1), (3, 2)] + 3 * [(3, 1)] + [(3, 2)]),
        ("zfnet", [(13, 256), (6, 256)],
         [(7, 2), (3, 2), (5, 2), (3, 2)] + 3 * [(3, 1)] + [(3, 2)]),
        ("inception_v4", [(35, 384), (17, 1024), (8, 1536)], None),
        ("inception_resnet_v2", [(35, 320), (17, 1088), (8, 1536)], None),
    ],
)  # fmt: skip
def test_structure(name, stages, layers):
    shape, classes = PUBLISHED_FOR[name]
    model = create_model(name, num_classes=classes)
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    seen = jax.eval_shape(lambda v, x: features(model, v, x), variables, images)
    ends = [seen[f"stage{i}"].shape for i in range(1, len(stages) + 1)]
    assert ends == [(1, size, size, width) for size, width in stages]
    assert f"stage{len(stages) + 1}" not in seen
    if layers:
        assert summarize(name, model, shape).receptive_field == 2 * (field(layers),)


def test_operations_one_by_one():
    def network(kernel, images):
        x = jax.lax.conv_general_dilated(
            images,
            kernel,
            (2, 1),
            "VALID",
            rhs_dilation=(1, 2),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 3, 3, 1), (1, 3, 3, 1), "VALID")
        left, right = jnp.tanh(x), x[:, ::2, ::2]
        return left.sum((1, 2)) + right.sum((1, 2))

    kernel = jax.ShapeDtypeStruct((3, 3, 2, 4), jnp.float32)
    done = operations(network, kernel, jax.ShapeDtypeStruct((1, 33, 33, 2), jnp.float32))
    conv, window, tanh, slices, *sums = done
    assert conv.reach == ((3, 5), (2, 1), (0, 0))
    assert conv.multiply_adds == 16 * 29 * 4 * 3 * 3 * 2
    assert window.reach == ((7, 7), (6, 3), (0, 0))
    assert tanh.reach == window.reach
    assert slices.reach == ((7, 7), (12, 6), (0, 0))
    assert all(operation.reach is EVERYTHING for operation in sums)
    assert PIXEL.through((1, 1), (1, 1)) == PIXEL


def test_a_layer_that_only_training_uses():
    layers = published("googlenet", aux_heads=True).layers
    assert layers[-1].output is None
    assert {layer.name for layer in layers if layer.output is None} == {
        f"aux{i}_{part}" for i in (1, 2) for part in ("conv/conv", "conv/norm", "fc", "head")
    }


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_all_parameters_are_some_layers(norm):
    model, shape = small("densenet121", norm=norm)
    summary = summarize("densenet121", model, shape)
    variables = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)
    )
    assert summary.parameters == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize("fields", [{"remat": True}, {"norm": "layer"}, {"norm": "instance"}])
def test_remat_and_norms_change_no_field(fields):
    def of(**fields):
        found = published("resnet20_cifar", stage_sizes=(1, 1, 1), **fields)
        return [(x.name, x.output, x.multiply_adds, x.receptive_field) for x in found.layers]

    assert of(**fields) == of()


def test_pooling_to_another_size_is_no_layer_of_products():
    summary = summarize("alexnet", create_model("alexnet", num_classes=10), (300, 300, 3))
    (pool,) = [layer for layer in summary.layers if "average_pool" in layer.name]
    assert (pool.name, pool.output, pool.multiply_adds) == ("average_pool", (6, 6, 256), 0)


# --- the command ---


def test_summary(run_cli):
    command = ("summary", "lenet5", "--input=29,29,1", "--num-classes=62", "--model.pooling=max")
    code, out, _ = run_cli(*command)
    assert code == 0
    lines = out.splitlines()
    assert lines[2].split() == ["c1", "25×25×6", "156", "93,750", "5", "1"]
    assert lines[-1].startswith("lenet5  from 29×29×1")
    code, out, _ = run_cli(*command, "--json")
    answer = json.loads(out)
    assert answer["input"] == [29, 29, 1]
    assert answer["layers"][0] == {
        "name": "c1",
        "output": [25, 25, 6],
        "parameters": 156,
        "multiply_adds": 93_750,
        "receptive_field": [5, 5],
        "stride": [1, 1],
    }
    assert answer["parameters"] == sum(layer["parameters"] for layer in answer["layers"])
    assert answer["receptive_field"] == [16, 16]


def test_receptive_fields_are_drawn_over_an_image(run_cli, tmp_path, rng):
    photo, picture = tmp_path / "photo.png", tmp_path / "fields.png"
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(photo)
    command = ("summary", "resnet20_cifar", f"--receptive_fields={picture}")
    code, out, err = run_cli(*command, f"--image={photo}", "--json")
    assert code == 0, err
    assert json.loads(out)["model"] == "resnet20_cifar"
    assert picture.stat().st_size > 5000
    model = create_model("resnet20_cifar", num_classes=10)
    axes = receptive_fields("resnet20_cifar", model, image_for((32, 32, 3), None)).axes[0]
    assert [box.get_label() for box in axes.patches] == [
        "stem: 3×3 pixels",
        "stage1: 15×15 pixels",
        "stage2: 37×37 pixels, beyond the image",
        "stage3: 81×81 pixels, beyond the image",
    ]
    assert axes.patches[1].get_bbox().bounds == (8.5, 8.5, 15, 15)  # pixels 9 to 23; unit 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenet5", "--image=a.png"], "--image needs --receptive_fields=FILE"),
        (["lenet5", "--receptive_fields=a"], "--receptive_fields=a must end in .png"),
        (["mlp", "--input=8,8,1", "--num-classes=2", "--receptive_fields=a.png"], "mlp has no feature maps"),
        (["lenet"], "model 'lenet' does not exist; did you mean 'lenet5'"),
        (["lenet5", "--input=28,28"], "--input=28,28 must be height,width,channels, e.g. 224,224,3"),
        (["lenet5", "--input=8,8,1"], "the images are too small for lenet5: 8×8, where layer 'c3' would be empty (0×0 pixels); the smallest size is 16×16, and --input=H,W,C takes it"),
        (["inception_v3", "--input=32,32,3"], "where layer 'mixed6a/branch3x3/conv' would be empty (0×0 pixels); the smallest size is 75×75"),
        (["lenet5", "--num-classes=0"], "--num-classes=0 must be at least 1"),
        (["lenet5", "--model.poolin=max"], "--model.poolin: 'lenet5' has no such setting; did you mean 'pooling'"),
        (["lenet5", "--model.dropout_rate=much"], "--model.dropout_rate='much' has the wrong type; it must be a number"),
        (["resnet18", "--model.width=0"], "width=0 must be at least 1"),
        (["resnet18", "--model.dtype=float16"], "dtype='float16' must be one of 'float32', 'bfloat16', 'float64'"),
        (["resnet18", "--model.norm=group", "--model.norm_groups=0"], "norm_groups=0 must be at least 1"),
        (["resnet18", "--model.cardinality=32"], "cardinality, inner_factor and stride_in_1x1 are settings of bottlenecks"),
        (["plain18", "--model.zero_init_residual=True"], "zero_init_residual and drop_path_rate need a shortcut"),
        (["resnext29_8x64d", "--model.cardinality=3"], "layer 'stage1_block1/conv2': 3 groups do not divide its 512 channels in and 512 out"),
        (["inception_v4", "--model.stage_sizes=(1,1)"], "stage_sizes=(1, 1) must be three numbers, one per stage"),
        (["resnet18", "--model.batch_norm_mode=fozen"], "; did you mean 'frozen'?"),
        (["resnet18", "--model.stem=small"], "stem='small' must be one of 'imagenet', 'cifar'"),
    ],
)  # fmt: skip
def test_mistakes(error_of, arguments, message):
    assert message in error_of("summary", *arguments)
