"""`jaxcnn convert`, and what starts from what it wrote."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxcnn import create_model, load_model
from jaxcnn.transfer.state_dict import to_state_dict
from tests.conftest import ROOT
from tests.models.zoo import variables_for

SMALL = ("--model=resnet20_cifar", "--model.width=4", "--model.stage_sizes=(1, 1, 1)")
DIGITS = f"--config={ROOT / 'configs' / 'digits_lenet.py'}"
# The same network in a run on the digits, 8×8 pixels of one channel.
RUN = (
    DIGITS,
    "--config.model.name=resnet20_cifar",
    "--config.model.width=4",
    "--config.model.stage_sizes=(1, 1, 1)",
    "--config.data.resize=0",
    "--config.train.duration=3 steps",
    "--config.schedule.warmup=0 steps",
)


@pytest.fixture
def weights(tmp_path) -> Path:
    """A .safetensors file of a small CIFAR ResNet for ten classes of images with one channel."""
    model = create_model("resnet20_cifar", num_classes=10, width=4, stage_sizes=(1, 1, 1))
    path = tmp_path / "weights.safetensors"
    save_file(to_state_dict(model, variables_for(model, (8, 8, 1))), path)
    return path


@pytest.fixture
def converted(run_cli, weights, tmp_path) -> Path:
    code, out, err = run_cli(
        "convert", *SMALL, "--input=8,8,1", f"--from={weights}", f"--to={tmp_path / 'converted'}"
    )
    assert code == 0, err
    assert out.splitlines() == [
        f"37 of 37 tensors come from {weights}",
        f"resnet20_cifar, 10 classes: {tmp_path / 'converted'}",
    ]
    return tmp_path / "converted"


def test_import_and_export_give_the_same_file(run_cli, weights, converted, tmp_path):
    model, variables = load_model(converted)
    assert (model.num_classes, model.width, tuple(model.stage_sizes)) == (10, 4, (1, 1, 1))
    jax.tree.map(np.testing.assert_array_equal, variables, variables_for(model, (8, 8, 1)))
    code, _, _ = run_cli("convert", f"--from={converted}", f"--to={tmp_path / 'again.safetensors'}")
    assert code == 0
    again, original = load_file(tmp_path / "again.safetensors"), load_file(weights)
    assert {key: value.dtype for key, value in again.items()} == {
        key: value.dtype for key, value in original.items()
    }
    jax.tree.map(np.testing.assert_array_equal, again, original)


def test_eval_of_converted_weights(run_cli, converted):
    code, out, err = run_cli("eval", *RUN, f"--config.init_from={converted}")
    assert code == 0, err
    assert out.split()[-1] == "360"


def test_a_run_starts_from_them(run_cli, converted, tmp_path):
    """With a learning rate of next to nothing, the run ends with the weights that it began with."""
    workdir = tmp_path / "run"
    command = ("train", *RUN, f"--config.init_from={converted}", f"--workdir={workdir}")
    code, _, err = run_cli(*command, "--config.optimizer.learning_rate=1e-20")
    assert code == 0, err
    started, _ = load_model(converted)
    model, ours = load_model(workdir)
    assert model == started
    expected = variables_for(model, (8, 8, 1))
    jax.tree.map(np.testing.assert_array_equal, ours["params"], expected["params"])
    # A run is exported as a converted directory is.
    target = tmp_path / "run.safetensors"
    assert run_cli("convert", f"--from={workdir}", f"--to={target}")[0] == 0
    kernel = load_file(target)["conv1.weight"]
    np.testing.assert_array_equal(
        kernel, expected["params"]["stem_conv"]["kernel"].transpose(3, 2, 0, 1)
    )


def test_a_run_of_other_classes_gets_a_new_head(run_cli, converted, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (60, 8, 8, 1)).astype(np.uint8), np.arange(60) % 3
    arrays = {"train_images": images, "train_labels": labels}
    np.savez(tmp_path / "data.npz", **arrays)
    source = ("--config.data.source=npz", f"--config.data.path={tmp_path / 'data.npz'}")
    command = ("train", *RUN, *source, f"--config.init_from={converted}")
    code, _, err = run_cli(
        *command,
        f"--workdir={tmp_path / 'run'}",
        "--config.optimizer.learning_rate=1e-20",
        "--config.train.global_batch_size=8",
    )
    assert code == 0, err
    _, ours = load_model(tmp_path / "run")
    expected = variables_for(load_model(converted)[0], (8, 8, 1))["params"]
    assert ours["params"]["head"]["kernel"].shape == (16, 3)
    for name in set(expected) - {"head"}:
        jax.tree.map(np.testing.assert_array_equal, ours["params"][name], expected[name])


def test_resuming_needs_no_weights_any_more(run_cli, converted, tmp_path):
    command = ("train", *RUN, f"--config.init_from={converted}", f"--workdir={tmp_path / 'run'}")
    assert run_cli(*command)[0] == 0
    (tmp_path / "run" / "result.json").unlink()
    (converted / "variables.safetensors").unlink()
    assert run_cli(*command)[0] == 0


# --- mistakes ---


def test_files_that_are_none(error_of, weights, tmp_path):
    to = f"--to={tmp_path / 'new'}"
    missing = tmp_path / "missing.pth"
    assert error_of("convert", *SMALL, f"--from={missing}", to) == (
        f"--from={missing}: there is no such file or directory"
    )
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(weights.read_bytes()[:1000])
    assert f"{truncated} cannot be read as safetensors: " in error_of(
        "convert", *SMALL, f"--from={truncated}", to
    )
    assert error_of("convert", f"--from={weights}", to) == (
        f"--from={weights} is a file; give its model with --model=NAME"
    )
    assert not (tmp_path / "new").exists()


def test_a_file_of_another_architecture(error_of, weights, tmp_path):
    to = f"--to={tmp_path / 'new'}"
    assert error_of("convert", "--model=vgg16", f"--from={weights}", to) == (
        f"{weights} holds no tensor of a vgg16: the first of its names are bn1.bias, "
        "bn1.num_batches_tracked, bn1.running_mean, and those of a vgg16 are classifier.0.bias, "
        "classifier.0.weight, classifier.3.bias"
    )
    assert error_of("convert", *SMALL, f"--from={weights}", to) == (
        f"{weights} does not fit this ResNet: conv1.weight is 4×1×3×3, and must be 4×3×3×3"
    )
    assert error_of("convert", *SMALL, "--model.with=4", f"--from={weights}", to).startswith(
        "--model.with: 'resnet20_cifar' has no such setting; did you mean 'width'? valid: "
    )
    assert not (tmp_path / "new").exists()


def test_where_it_goes(error_of, weights, converted, tmp_path):
    assert error_of(
        "convert", *SMALL, "--input=8,8,1", f"--from={weights}", f"--to={converted}"
    ) == (f"--to={converted} already exists; it takes a new directory")
    assert error_of("convert", f"--from={converted}", f"--to={tmp_path / 'x.pth'}") == (
        f"--to={tmp_path / 'x.pth'} must end in .safetensors"
    )
    below_a_file = converted / "model.json" / "x.safetensors"
    assert error_of("convert", f"--from={converted}", f"--to={below_a_file}") in (
        f"--to={below_a_file} cannot be written: Not a directory",
        f"--to={below_a_file} cannot be written: File exists",
    )
    assert (
        "--model, --model.KEY, --input, --entry and --no-strict apply only to a weight file, but "
        in error_of(
            "convert",
            "--model=resnet18",
            f"--from={converted}",
            f"--to={tmp_path / 'x.safetensors'}",
        )
    )


def test_init_from_what_does_not_fit(error_of, converted, tmp_path):
    command = ("train", *RUN, f"--workdir={tmp_path / 'run'}")
    assert error_of(*command, "--config.init_from=nowhere") == (
        f"config.init_from: {Path.cwd() / 'nowhere'}: there is no such directory"
    )
    start = f"--config.init_from={converted}"
    problem = f"config.init_from='{converted}' holds the weights of another network"
    assert error_of(*command, start, "--config.model.width=8") == (
        f"{problem}: width is 4 there and 8 here"
    )
    assert error_of(*command, start, "--config.model.activation=tanh") == (
        f"{problem}: activation is relu there and tanh here"
    )
    assert error_of("train", DIGITS, f"--workdir={tmp_path / 'run'}", start) == (
        f"{problem}: a ResNet, and this is a LeNet5"
    )
    (tmp_path / "empty").mkdir()
    assert error_of(*command, f"--config.init_from={tmp_path / 'empty'}") == (
        f"config.init_from: {tmp_path / 'empty'} holds neither a converted model (model.json) nor a "
        "run (config.json)"
    )
    (converted / "variables.safetensors").write_bytes(b"no")
    assert error_of(*command, f"--config.init_from={converted}") == (
        f"config.init_from: {converted} holds no converted model that can be read (SafetensorError)"
    )
    assert not (tmp_path / "run").exists()


def test_without_a_head(run_cli, error_of, weights, tmp_path):
    """A file of features alone: refused, or with a new head for the classes published."""
    tensors = {k: v for k, v in load_file(weights).items() if not k.startswith("linear")}
    save_file(tensors, tmp_path / "features.safetensors")
    command = (
        "convert", *SMALL, "--input=8,8,1",
        f"--from={tmp_path / 'features.safetensors'}", f"--to={tmp_path / 'new'}",
    )  # fmt: skip
    assert "has no head by that model's name for it" in error_of(*command)
    code, out, err = run_cli(*command, "--no-strict")
    assert code == 0, err
    assert out.splitlines()[:3] == [
        "missing, initialised: linear.bias",
        "missing, initialised: linear.weight",
        f"35 of 37 tensors come from {tmp_path / 'features.safetensors'}",
    ]
    assert load_model(tmp_path / "new")[0].num_classes == 10


def test_a_network_that_torch_has_not_is_said(run_cli, weights, tmp_path):
    to = f"--to={tmp_path / 'new'}"
    command = (
        "convert",
        *SMALL,
        "--input=8,8,1",
        "--model.activation=tanh",
        f"--from={weights}",
        to,
    )
    _, out, _ = run_cli(*command)
    assert out.splitlines()[-1] == (
        "note: the torch model with these names computes something else, not activation='tanh'"
    )


def test_nothing_is_ignored(error_of, converted):
    assert (
        error_of("eval", "--config=digits_lenet", "--data=photos") == "--data needs --workdir=DIR"
    )
    assert error_of("eval", *RUN, f"--config.init_from={converted}", "--checkpoint=best") == (
        "--checkpoint needs --workdir=DIR"
    )
    assert error_of("eval", "--workdir=") == "--workdir='' is empty; it takes a path"
    assert error_of("eval", "--workdir=x", "--data=") == "--data='' is empty; it takes a path"


def test_eval_takes_a_run_or_weights(error_of):
    assert error_of("eval").startswith("give --workdir=DIR for a run, --ensemble=DIR,DIR")
    assert error_of("eval", *RUN) == (
        "config.init_from='' must be the directory of the weights to evaluate"
    )


# --- torch's own files ---


def test_a_torch_file_needs_torch_and_says_so(error_of, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "weights.pth"
    path.write_bytes(b"anything")
    assert error_of("convert", *SMALL, f"--from={path}", f"--to={tmp_path / 'new'}") == (
        f"{path} is a torch file, and torch is not installed: pip install -e '.[torch]'; a "
        ".safetensors file needs no torch"
    )
