"""Models by name: a user's own, what each was published for, and the limits of their fields."""

from functools import partial
from typing import Annotated

import flax.linen as nn
import pytest

from jaxcnn import create_model, register_model
from jaxcnn.errors import UserError
from jaxcnn.limits import AT_LEAST_1
from jaxcnn.models import MODELS, PUBLISHED_FOR, count_parameters, published_for
from jaxcnn.models.classifier import Classifier
from jaxcnn.models.mlp import MLP
from jaxcnn.models.resnet import ResNet


@pytest.fixture(autouse=True)
def _tables(monkeypatch):
    """What a test registers is forgotten."""
    for table in ("_constructors", "_about", "_limits"):
        monkeypatch.setattr(MODELS, table, dict(getattr(MODELS, table)))
    before = dict(PUBLISHED_FOR)
    yield
    PUBLISHED_FOR.clear()
    PUBLISHED_FOR.update(before)


def test_a_user_s_subclass():
    @register_model("averages", image_shape=(4, 4, 3), num_classes=7)
    class Averages(Classifier):
        """The head on mean colours."""

        width: Annotated[int, AT_LEAST_1] = 3

        @nn.compact
        def __call__(self, images, train):
            kit = self.kit(train)
            x = kit.dense(self.width, name="dense")(images.mean(axis=(1, 2)))
            return self.head(kit, self.endpoint("pre_logits", x))

    assert published_for("averages") == ((4, 4, 3), 7)
    assert MODELS.about("averages") == "The head on mean colours"
    model = create_model("averages", num_classes=7, width=5, replicas=2)
    assert (type(model), model.width, model.replicas) == (Averages, 5, 2)
    assert count_parameters(model, (4, 4, 3)) == (3 + 1) * 5 + (5 + 1) * 7
    with pytest.raises(UserError, match="^width=0 must be at least 1$"):
        create_model("averages", num_classes=7, width=0)


def test_a_user_s_function_need_not_take_replicas():
    @register_model("narrow")
    def narrow(num_classes: int, width: int = 8) -> Classifier:
        return MLP(num_classes=num_classes, widths=(width,))

    assert create_model("narrow", num_classes=3, width=4) == MLP(num_classes=3, widths=(4,))
    assert create_model("narrow", num_classes=3, replicas=2).replicas == 2
    assert MODELS.settings("narrow") == {"width": 8}
    assert MODELS.about("narrow") == ""


def test_what_a_model_was_published_for():
    register_model("anything")(MLP)
    with pytest.raises(UserError, match="model 'anything' is registered without an image size and"):
        published_for("anything")
    with pytest.raises(UserError, match="model 'resnet5' does not exist; did you mean 'resnet50'"):
        published_for("resnet5")
    assert published_for("resnet20_cifar") == ((32, 32, 3), 10)


def test_what_is_registered_makes_a_classifier_of_num_classes():
    with pytest.raises(UserError, match="model 'fixed' must take num_classes"):
        register_model("fixed")(lambda width=3: MLP(num_classes=10, widths=(width,)))
    assert "fixed" not in MODELS.names()
    register_model("layer")(lambda num_classes: nn.Dense(num_classes))
    with pytest.raises(UserError, match="model 'layer' must make a Classifier, not a Dense"):
        create_model("layer", num_classes=3)


class PlainModule(nn.Module):
    num_classes: int


@pytest.mark.parametrize(
    ("constructor", "message"),
    [
        (PlainModule, "must be a subclass of Classifier, or a function that makes one, not PlainModule"),
        (dict, "must be a subclass of Classifier, or a function that makes one, not dict"),
        (3, "must be a subclass of Classifier, or a function that makes one, not 3"),
        (lambda num_classes, width: None, "has a setting without a default: width; write width=…"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_where_it_is_registered(constructor, message):
    with pytest.raises(UserError) as error:
        register_model("none")(constructor)
    assert str(error.value).removesuffix(" (docs/own_parts.md shows how)") == (
        f"model 'none' {message}"
    )
    assert "none" not in MODELS.names()


def test_a_decorator_without_a_name_is_refused():
    with pytest.raises(
        UserError, match=r"register_model=.*MLP.* must be a name: @register_model\("
    ):
        register_model(MLP)


def test_a_variant_does_not_replace_a_network():
    with pytest.raises(
        UserError, match="model 'resnet18' is registered twice; give yours another name"
    ):
        register_model("resnet18")(partial(ResNet, width=3))
    assert create_model("resnet18", num_classes=3).width == 64


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("resnet18", {"width": 0}, "width=0 must be at least 1"),
        ("resnet18", {"stage_sizes": (1, 0)}, "stage_sizes=(1, 0) must be at least 1"),
        ("resnet18", {"drop_path_rate": 1.0}, "drop_path_rate=1.0 must be at least 0 and less than 1"),
        ("resnet18", {"norm_epsilon": 0.0}, "norm_epsilon=0.0 must be more than 0"),
        ("vgg11", {"pool_size": 0}, "pool_size=0 must be at least 1"),
        ("densenet121", {"compression": 1.5}, "compression=1.5 must be more than 0 and at most 1"),
        ("googlenet", {"aux_weight": -1.0}, "aux_weight=-1.0 must be at least 0"),
        ("mlp", {"dtype": "float16"}, "dtype='float16' must be one of 'float32', 'bfloat16', 'float64'; did you mean 'bfloat16'?"),
        ("mlp", {"num_classes": "ten"}, "num_classes='ten' must be at least 1"),
    ],
)  # fmt: skip
def test_a_field_outside_its_limit(name, fields, message):
    with pytest.raises(UserError) as error:
        create_model(name, **{"num_classes": 10, **fields})
    assert str(error.value) == message
