"""Our networks beside torchvision's and timm's own, from the same random weights: `make test-torch`.

Not part of `make test`, which needs no torch: tests/models/test_golden.py holds ten of them to a file.
"""

import jax
import pytest
import torch
from safetensors.torch import load_file

from benchmarks import loop
from benchmarks.contestants import with_torch
from jaxcnn import create_model
from jaxcnn.models import PUBLISHED_FOR, count_parameters
from jaxcnn.transfer.convert import export_weights
from jaxcnn.transfer.state_dict import from_state_dict, to_state_dict
from tests.models.test_golden import relative_error
from tests.torch.torchvision_models import torchvision_model

NETWORKS = [
    ("alexnet", None),
    *((f"vgg{depth}{bn}", None) for depth in (11, 13, 16, 19) for bn in ("", "_bn")),
    ("googlenet", False),
    ("googlenet", True),
    ("inception_v3", False),
    ("inception_v3", True),
    *((f"resnet{depth}", None) for depth in (18, 34, 50, 101, 152)),
    ("resnext50_32x4d", None),
    ("resnext101_32x8d", None),
    ("wide_resnet50_2", None),
    ("wide_resnet101_2", None),
    *((f"densenet{depth}", None) for depth in (121, 161, 169, 201)),
]


def randomize(model: torch.nn.Module) -> None:
    """He-normal kernels; scales, shifts and running statistics that are all unlike their beginnings.

    The scales are small, as those of trained networks are. With scales around one, rounding grows from block
    to block of a ResNet-152 in training mode: torch's own float32 logits are then 2·10⁻⁴ from its
    float64 ones.
    """
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                torch.nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.2, 0.6)
            torch.nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)


@pytest.mark.parametrize(("name", "aux_heads"), NETWORKS)
def test_logits_statistics_and_export(name, aux_heads, tmp_path):
    shape, _ = PUBLISHED_FOR[name]
    theirs = torchvision_model(name, aux_heads=aux_heads)
    randomize(theirs)
    fields = {} if aux_heads is None else {"aux_heads": aux_heads}
    if name == "googlenet":
        fields["aux_dropout_rate"] = 0.0
    ours = create_model(name, num_classes=1000, dropout_rate=0.0, **fields)
    compare(ours, theirs, shape, tmp_path)


@pytest.mark.parametrize("name", ["inception_v4", "inception_resnet_v2"])
def test_timms_networks(name, tmp_path):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model(name)
    randomize(theirs)
    ours = create_model(name, num_classes=1000, dropout_rate=0.0)
    compare(ours, theirs, PUBLISHED_FOR[name][0], tmp_path)


def compare(ours, theirs, shape, tmp_path) -> None:
    tensors = {key: value.numpy() for key, value in theirs.state_dict().items()}
    variables, _ = from_state_dict(ours, tensors, shape, "torch")

    export_weights(ours, variables, tmp_path / "ours.safetensors")
    again = load_file(tmp_path / "ours.safetensors")
    assert {key: value.dtype for key, value in again.items()} == {
        key: value.dtype for key, value in theirs.state_dict().items()
    }
    theirs.load_state_dict(again, strict=True)

    images = torch.randn(4, shape[2], *shape[:2], generator=torch.Generator().manual_seed(1))
    nhwc = images.permute(0, 2, 3, 1).numpy()
    with torch.no_grad():
        evaluated, trained = theirs.eval()(images), theirs.train()(images)
    logits = evaluated if torch.is_tensor(evaluated) else evaluated[0]

    def both(variables):
        collections = ["batch_stats", "aux_logits"]
        trained, changed = ours.apply(variables, nhwc, train=True, mutable=collections)
        return ours.apply(variables, nhwc, train=False), trained, changed

    our_logits, our_trained, changed = jax.jit(both)(variables)
    errors = {"eval": relative_error(our_logits, logits.numpy())}
    heads = {} if torch.is_tensor(trained) else trained._asdict()
    main = trained if torch.is_tensor(trained) else heads["logits"]
    errors["train"] = relative_error(our_trained, main.numpy())
    for head, (aux,) in changed.get("aux_logits", {}).items():
        of_torch = {"aux": "aux_logits", "aux1": "aux_logits1", "aux2": "aux_logits2"}[head]
        errors[head] = relative_error(aux, heads[of_torch].numpy())
    after = to_state_dict(
        ours, jax.device_get({**variables, "batch_stats": changed.get("batch_stats", {})})
    )
    statistics = [key for key in after if key.endswith(("running_mean", "running_var"))]
    errors["statistics"] = max(
        (relative_error(after[key], theirs.state_dict()[key].numpy()) for key in statistics),
        default=0.0,
    )
    print({key: f"{error:.1e}" for key, error in errors.items()})
    assert max(errors.values()) <= 1e-4, errors


@pytest.mark.parametrize("name", with_torch.MODELS)
def test_the_benchmarks_train_the_same_network(name):
    fields = dict(loop.MODELS.get(name, {"name": name}))
    registered = fields.pop("name")
    cifar = (loop.SHAPE, 10)
    shape, classes = cifar if name in loop.MODELS else PUBLISHED_FOR[registered]
    theirs = sum(parameter.numel() for parameter in with_torch.MODELS[name]().parameters())
    model = create_model(registered, num_classes=classes, **fields)
    assert theirs == count_parameters(model, shape)
