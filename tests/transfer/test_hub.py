"""Weights by name from a hub, which the tests serve on loopback: `hf://OWNER/REPO`."""

import json
import logging
import os
import shutil
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import save

from jaxcnn import create_model, load_model
from jaxcnn.errors import UserError
from jaxcnn.train.pretrained import load_weights
from jaxcnn.transfer.about import to_metadata
from jaxcnn.transfer.state_dict import to_state_dict
from tests.conftest import start_jaxcnn
from tests.models.zoo import variables_for
from tests.transfer.conftest import SHAPE
from tests.transfer.loopback_hub import FIRST, Hub
from tests.transfer.test_convert import RUN

api = pytest.importorskip("huggingface_hub.hf_api").api
constants = pytest.importorskip("huggingface_hub.constants")

SECOND = 40 * "2"
FLAGS = ("--model.width=4", "--model.stage_sizes=(1, 1, 1)")
DIGITS = [str(digit) for digit in range(10)]
# As timm writes it today.
CONFIG = {
    "architecture": "resnet20_cifar",
    "num_classes": 10,
    "label_names": DIGITS,
    "pretrained_cfg": {
        "input_size": [1, 8, 8],
        "mean": [0.3],
        "std": [0.4],
        "crop_pct": 0.875,
        "interpolation": "bilinear",
    },
}
TAKEN_OVER = [
    "architecture: resnet20_cifar",
    "classes: 0, 1, 2, …",
    "images: 8×8×1",
    "normalisation: mean 0.3; std 0.4",
    "not taken over: crop_pct 0.875, interpolation bilinear",
]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub, and an empty cache; the package has read the environment when it was imported."""
    served = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(api, "endpoint", served.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield served
    served.stop()


@pytest.fixture
def published(hub, tensors):
    """The hub with a repository as timm publishes them."""
    files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": save(tensors)}
    hub.publish("ada/net", files, names=("main", "v1"))
    return hub


def equal(variables, others):
    jax.tree.map(np.testing.assert_array_equal, variables, others)


# --- convert ---


def test_a_repository_is_converted(run_cli, published, network, tmp_path):
    to = tmp_path / "new"
    code, out, err = run_cli("convert", *FLAGS, "--from=hf://ada/net", f"--to={to}")
    assert code == 0, err
    address = f"hf://ada/net@{FIRST}"
    assert out.splitlines() == [
        f"{address}: model.safetensors",
        *TAKEN_OVER,
        f"37 of 37 tensors come from {address}",
        f"resnet20_cifar, 10 classes: {to}",
    ]
    assert json.loads((to / "model.json").read_text())["source"] == address
    weights = load_weights(to)
    assert weights.model == network
    equal(weights.variables, variables_for(network, SHAPE))
    assert weights.class_names == tuple(DIGITS)
    np.testing.assert_allclose(weights.about["mean"], [0.3 * 255])
    np.testing.assert_allclose(weights.about["std"], [0.4 * 255])
    assert (weights.about["pixel_dtype"], weights.about["image_shape"]) == ("uint8", [8, 8, 1])


def test_a_revision_is_a_branch_a_tag_or_a_commit(run_cli, published, tensors, tmp_path):
    doubled = {key: value + value for key, value in tensors.items() if value.ndim}
    files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": save(doubled)}
    published.publish("ada/net", files, SECOND)
    for i, (revision, commit) in enumerate(
        (("", SECOND), ("@main", SECOND), ("@v1", FIRST), (f"@{FIRST}", FIRST))
    ):
        to = tmp_path / str(i)
        code, out, err = run_cli("convert", *FLAGS, f"--from=hf://ada/net{revision}", f"--to={to}")
        assert code == 0, err
        assert f"hf://ada/net@{commit}: model.safetensors" in out
        kernel = load_model(to)[1]["params"]["head"]["kernel"].T
        np.testing.assert_array_equal(
            kernel, tensors["linear.weight"] * (2 if commit == SECOND else 1)
        )


@pytest.mark.parametrize("offline", [False, True])
def test_the_second_time_needs_no_hub(run_cli, published, tmp_path, monkeypatch, offline):
    command = ("convert", *FLAGS, "--from=hf://ada/net")
    first = run_cli(*command, f"--to={tmp_path / 'new'}")
    assert first[0] == 0
    published.stop()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    shutil.rmtree(tmp_path / "new")
    assert run_cli(*command, f"--to={tmp_path / 'new'}")[:2] == first[:2]


def test_the_package_reads_its_environment(published, network, tmp_path):
    """The command as a user runs it, in a process of its own."""
    environment = {"HF_ENDPOINT": published.url, "HF_HOME": str(tmp_path / "home")}
    command = ("convert", *FLAGS, "--from=hf://ada/net", f"--to={tmp_path / 'new'}")
    process = start_jaxcnn(*command, **environment)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    equal(load_model(tmp_path / "new")[1], variables_for(network, SHAPE))
    assert (tmp_path / "home" / "hub" / "models--ada--net").is_dir()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        # timm before 2023
        (
            {"architecture": "resnet20_cifar", "mean": [0.5], "std": [0.5], "labels": DIGITS},
            [*TAKEN_OVER[:2], "normalisation: mean 0.5; std 0.5"],
        ),
        # transformers
        (
            {"id2label": dict(enumerate(DIGITS)), "architecture": "resnet20_cifar"},
            TAKEN_OVER[:2],
        ),
        (
            {
                "architecture": "resnet20_cifar",
                "model_args": {"act_layer": "silu"},
                "label_names": {"0": "zero", "7": "seven"},
                "input_size": [3, 224],
                "pretrained_cfg": {"mean": [0.5, 0.5], "std": [0.5], "label_offset": 1},
            },
            [
                TAKEN_OVER[0],
                'not taken over: label_offset 1, model_args {"act_layer": "silu"}, '
                'input_size [3, 224], mean [0.5, 0.5], std [0.5], label_names {"0": "zero", "7": "seven"}',
            ],
        ),
    ],
)
def test_other_configs(run_cli, hub, tensors, tmp_path, config, said):
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": save(tensors)}
    hub.publish("ada/net", files)
    command = ("convert", *FLAGS, "--input=8,8,1", "--from=hf://ada/net", f"--to={tmp_path / 'x'}")
    code, out, err = run_cli(*command)
    assert code == 0, err
    assert out.splitlines()[1:-2] == said


def test_an_export_of_jaxcnn_needs_no_config(run_cli, hub, tensors, tmp_path):
    about = {"model": "resnet20_cifar", "class_names": DIGITS, "image_shape": [8, 8, 1]}
    hub.publish("ada/net", {"model.safetensors": save(tensors, to_metadata(about))})
    code, out, err = run_cli("convert", *FLAGS, "--from=hf://ada/net", f"--to={tmp_path / 'x'}")
    assert code == 0, err
    assert out.splitlines()[1:4] == TAKEN_OVER[:3]
    assert load_weights(tmp_path / "x").class_names == tuple(DIGITS)


def test_another_architecture_needs_its_model(run_cli, error_of, hub, tensors, tmp_path):
    config = {"architecture": "resnet20d"}
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": save(tensors)}
    hub.publish("ada/net", files)
    hub.publish("ada/bare", {"model.safetensors": save(tensors)})
    command = ("convert", *FLAGS, "--input=8,8,1", f"--to={tmp_path / 'new'}")
    address = f"hf://ada/net@{FIRST}"
    assert error_of(*command, "--from=hf://ada/net") == (
        f"{address} is a resnet20d, which is no model of jaxcnn's; jaxcnn convert --from={address} "
        "--model=NAME reads it as one with the same tensors (jaxcnn models lists all)"
    )
    assert f"hf://ada/bare@{FIRST} does not say its model; jaxcnn convert" in error_of(
        *command, "--from=hf://ada/bare"
    )
    code, out, err = run_cli(*command, "--model=resnet20_cifar", "--from=hf://ada/net")
    assert code == 0, err
    assert f"note: {address} says that it is a resnet20d, not a resnet20_cifar" in out


# --- init_from ---


def test_a_run_starts_from_a_repository_and_resumes_without(
    run_cli, published, network, tmp_path, caplog
):
    workdir = tmp_path / "run"
    command = ("train", *RUN, "--config.init_from=hf://ada/net", f"--workdir={workdir}")
    command = (*command, "--config.optimizer.learning_rate=1e-20")
    code, _, err = run_cli(*command)
    assert code == 0, err
    equal(load_model(workdir)[1]["params"], variables_for(network, SHAPE)["params"])
    address = f"hf://ada/net@{FIRST}"
    (started,) = json.loads((workdir / "environment.json").read_text())
    assert started["init_from"] == address
    log = (workdir / "log.txt").read_text()
    for line in (*TAKEN_OVER, f"weights of {address}: the head is kept: it is for the same 10 cla"):
        assert line in log
    assert "config.data.mean='(0.3,)' and config.data.std='(0.4,)' take over" in log

    published.stop()
    shutil.rmtree(tmp_path / "cache")
    (workdir / "result.json").unlink()
    assert run_cli(*command)[0] == 0
    assert "init_from" not in json.loads((workdir / "environment.json").read_text())[1]


def test_an_evaluation_normalises_as_the_config_says(run_cli, published, tmp_path, caplog):
    evaluate = ("eval", *RUN, "--json")
    with caplog.at_level(logging.INFO):
        code, out, err = run_cli(*evaluate, "--config.init_from=hf://ada/net")
    assert code == 0, err
    assert f"hf://ada/net@{FIRST}: model.safetensors" in caplog.text
    given = ("--config.data.mean=(0.3,)", "--config.data.std=(0.4,)")
    assert run_cli("convert", *FLAGS, "--from=hf://ada/net", f"--to={tmp_path / 'new'}")[0] == 0
    same = run_cli(*evaluate, f"--config.init_from={tmp_path / 'new'}", *given)
    assert json.loads(out) == json.loads(same[1])


def test_a_run_of_another_network_does_not_start(error_of, published, tmp_path):
    command = ("train", *RUN, "--config.init_from=hf://ada/net", f"--workdir={tmp_path / 'run'}")
    assert error_of(*command, "--config.model.width=8").startswith(
        f"config.init_from: hf://ada/net@{FIRST} does not fit this ResNet: layer1.0.bn1.running_mean is "
        "4, and must be 8"
    )
    assert not (tmp_path / "run").exists()


def test_a_model_in_python(hub):
    model = create_model("resnet18", num_classes=10)
    expected = variables_for(model, (32, 32, 3))
    config = {"architecture": "resnet18"}
    tensors = to_state_dict(model, expected)
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": save(tensors)}
    hub.publish("timm/resnet18", files)
    read, variables = load_model("hf://timm/resnet18")
    assert read == model
    equal(variables, expected)


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://ada/other", "is not at {url}, or it is private and needs a token in HF_TOKEN"),
        ("hf://ada/net@v2", "does not exist: the repository has no such branch, tag or commit"),
        ("hf://ada/gated", "is gated: {url} wants you to ask for access, and then a token in HF_TOKEN"),
        ("hf://ada/broken", "does not give it (HfHubHTTPError: 403 Forbidden"),
        ("hf://ada/empty", "holds no weights: neither model.safetensors nor pytorch_model.bin"),
        ("hf://ada/no--name", "cannot be downloaded from {url} (HFValidationError: Cannot have -- or .."),
        ("hf://ada", "must be a path of the file system, hf://OWNER/REPO or hf://OWNER/REPO@REVISION"),
        ("https://hub/ada/net", "must be a path of the file system, hf://OWNER/REPO or hf://OWNER"),
    ],
    ids=lambda value: value if value.startswith("h") and ":" in value[:6] else "",
)  # fmt: skip
def test_what_is_not_there(error_of, published, tmp_path, address, message):
    published.publish("ada/gated", {})
    published.publish("ada/empty", {})
    published.publish("ada/broken", {})
    published.closed |= {"ada/gated": (403, "GatedRepo"), "ada/broken": (403, "")}
    said = error_of("convert", f"--from={address}", f"--to={tmp_path / 'new'}")
    assert message.format(url=published.url) in said
    assert address in said
    assert not (tmp_path / "new").exists()


def test_without_a_network(error_of, published, tmp_path, monkeypatch):
    published.stop()
    command = ("convert", "--from=hf://ada/net", f"--to={tmp_path / 'new'}")
    missing = f"hf://ada/net is not in the cache {tmp_path / 'cache'}, and "
    assert error_of(*command) == (
        f"{missing}{published.url} does not give it (ConnectError: [Errno 111] Connection refused)"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert error_of(*command) == f"{missing}HF_HUB_OFFLINE forbids a download"
    start = ("train", *RUN, "--config.init_from=hf://ada/net", f"--workdir={tmp_path / 'run'}")
    assert error_of(*start) == f"config.init_from: {missing}HF_HUB_OFFLINE forbids a download"
    assert not (tmp_path / "run").exists()


def test_without_the_package(error_of, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert error_of("convert", "--from=hf://ada/net", f"--to={tmp_path / 'new'}") == (
        "hf://ada/net needs the package huggingface_hub: pip install 'jaxcnn[hub]'"
    )


def test_a_damaged_file_is_refused(error_of, run_cli, published, tmp_path):
    command = ("convert", *FLAGS, "--from=hf://ada/net", f"--to={tmp_path / 'new'}")
    published.damage = lambda content: content[:-100] if len(content) > 1000 else content
    said = error_of(*command)
    assert "cannot be downloaded" in said
    assert "Consistency check failed: file should be of size" in said
    # As long as it should be, but not the hub's: the package does not notice.
    published.damage = lambda content: (
        content[:-4] + b"\0\0\0\0" if len(content) > 1000 else content
    )
    said = error_of(*command)
    assert f"is damaged: its bytes are not those of hf://ada/net@{FIRST}; remove it" in said
    assert not (tmp_path / "new").exists()
    os.remove(said.split(" is damaged")[0])
    published.damage = lambda content: content
    assert run_cli(*command)[0] == 0


@pytest.mark.parametrize("content", [b"{", b"[1]"])
def test_a_config_that_is_none(error_of, hub, tensors, tmp_path, content):
    hub.publish("ada/net", {"config.json": content, "model.safetensors": save(tensors)})
    said = error_of("convert", "--from=hf://ada/net", f"--to={tmp_path / 'new'}")
    assert said.startswith(f"hf://ada/net@{FIRST}: its config.json ")


def test_torch_s_file_needs_torch(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    hub.publish("ada/net", {"pytorch_model.bin": b"anything"})
    with pytest.raises(UserError, match="pytorch_model.bin is a torch file, and torch is not inst"):
        load_model("hf://ada/net")
