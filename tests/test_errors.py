import pytest

from jaxcnn.errors import suggestion
from jaxcnn.models import list_models

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("resnet20", "resnet20_cifar"),
        ("resnet5", "resnet50"),
        ("lenet", "lenet5"),
        ("resnet164_cifar", "preact_resnet164_cifar"),
        ("vgg16bn", "vgg16_bn"),
        ("wideresnet28_10", "wide_resnet28_10"),
        ("densenet-121", "densenet121"),
        ("ResNet50", "resnet50"),
        ("RESNET-20", "resnet20_cifar"),
        ("resnet20_cfar", "resnet20_cifar"),
        ("InceptionV3", "inception_v3"),
    ],
)
def test_the_closest_name(given, nearest):
    assert suggestion(given, list_models()).startswith(f"did you mean '{nearest}'? valid: alexnet,")


@pytest.mark.parametrize("given", ["", "x", "--", "transformer"])
def test_nothing_is_close_to_what_is_unlike_any(given):
    assert suggestion(given, ["adam", "max_norm"]) == "valid: adam, max_norm"
    assert suggestion(given, []) == "valid: none"


def test_flags_and_short_names():
    assert suggestion("--work-dir", ["--workdir", "--config"]).startswith(
        "did you mean '--workdir'?"
    )
    assert suggestion("lr", ["vgg11_lrn", "adam"]) == "valid: adam, vgg11_lrn"
