"""What a user's mistake gets: one line, exit code 1, nothing half-written."""

import errno
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.conftest import DIGITS, QUICK, ROOT

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--config.optimizer.nmae=adam"], "config.optimizer.nmae: 'nesterov' has no such setting; did you mean 'name'?"),
        (["--config.optimizer.name=adamm"], "config.optimizer.name: optimizer 'adamm' does not exist; did you mean 'adam'?"),
        (["--config.optimizer.learning_rate=fast"], "config.optimizer.learning_rate='fast' has the wrong type"),
        (["--config.train.global_batch_size=-1"], "config.train.global_batch_size=-1 must be at least 1"),
        (["--config.train.global_batch_size=5000"], "is larger than the training split, which has 1293 images"),
        (["--config.schedule.warmup=99 epochs"], "the warm-up must be shorter than the run"),
        (["--config.data.resize=4"], "the images are too small for lenet5: 4×4, where layer 'c1' would be empty"),
        (["--config.data.source=idx", "--config.data.root=/nowhere"], "config.data.root='/nowhere': there is no such directory"),
        (["--config.data.source=tfds", "--config.data.name=mnist", "--config.data.data_dir=/nowhere"], "config.data.data_dir='/nowhere'"),
        (["--config.model.dropout_rate"], "--config.model.dropout_rate needs a value"),
        (["--conifg.seed=1"], "unknown argument --conifg.seed=1; "),
        (["--config.model.pooling=median"], "config.model.pooling='median' must be one of 'max', 'avg', 'avg_unpadded'"),
        (["--config.model.name=simple_cnn", "--config.model.hidden=0"], "config.model.hidden=0 must be at least 1"),
        (["--config.model.name=simple_cnn", "--config.model.widths=(8, 0)"], "config.model.widths=(8, 0) must be at least 1"),
        (["--config.model.name=mlp", "--config.model.widths=(8, 'a')"], "config.model.widths.1='a' has the wrong type"),
        (["--config.model.param_dtype=bfloat16"], "config.model.param_dtype='bfloat16' must be one of 'float32', 'float64'"),
        (["--config.seed=99999999999"], "config.seed=99999999999 must be at least 0 and less than 2³²"),
        (["--config.data.mean=['a']", "--config.data.std=[1]"], "must hold 1 finite numbers, one per channel"),
        (["--overwirte"], "unknown argument --overwirte; did you mean '--overwrite'?"),
        (["--workdir"], "argument --workdir: expected one argument"),
    ],
)  # fmt: skip
def test_mistakes_in_the_command(error_of, tmp_path, overrides, message):
    workdir = tmp_path / "run"
    line = error_of("train", f"--config={DIGITS}", f"--workdir={workdir}", *overrides)
    assert message in line
    assert not workdir.exists()


@pytest.mark.parametrize("command", ["show-batch", "plot-schedule"])
def test_a_picture_that_cannot_be_written(error_of, command):
    line = error_of(command, f"--config={DIGITS}", "--out=/proc/no/picture.png")
    assert "cannot write /proc/no/picture.png: No such file or directory" in line


def test_a_missing_config_file(error_of, tmp_path):
    line = error_of(
        "train", f"--config={ROOT}/configs/digit_lenet.py", f"--workdir={tmp_path / 'run'}"
    )
    assert "there is no such file; did you mean" in line
    assert "digits_lenet.py" in line


def test_a_config_file_with_a_typo(error_of, tmp_path):
    config = tmp_path / "typo.py"
    config.write_text(DIGITS.read_text().replace("config.train.duration", "config.train.duratoin"))
    line = error_of("train", f"--config={config}", f"--workdir={tmp_path / 'run'}")
    assert "config.train.duratoin: there is no such setting; did you mean 'duration'?" in line


def test_a_setting_that_is_a_flag_of_the_command_is_spelled_as_one(error_of):
    assert error_of("summary", "lenet5", "--num-classes=0") == "--num-classes=0 must be at least 1"
    line = error_of("models", "--imports=not_there")
    assert line.startswith("--imports: 'not_there' cannot be imported: ModuleNotFoundError")


def test_no_command_and_a_wrong_one(error_of):
    assert "the following arguments are required: COMMAND" in error_of()
    assert "invalid choice: 'trian'" in error_of("trian")


# --- the data ---


def test_labels_out_of_range(error_of, tmp_path):
    path = tmp_path / "data.npz"
    images, labels = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 3
    labels[7] = -2
    np.savez(path, train_images=images, train_labels=labels)
    line = error_of(
        "train", f"--config={DIGITS}", f"--workdir={tmp_path / 'run'}",
        "--config.data.source=npz", f"--config.data.path={path}",
    )  # fmt: skip
    assert line == f"{path}: train_labels holds -2; labels are whole numbers from 0"
    labels[7] = 2
    test_labels = np.array([0, 5])
    np.savez(
        path,
        train_images=images,
        train_labels=labels,
        test_images=images[:2],
        test_labels=test_labels,
    )
    line = error_of(
        "train", f"--config={DIGITS}", f"--workdir={tmp_path / 'run'}",
        "--config.data.source=npz", f"--config.data.path={path}",
    )  # fmt: skip
    assert line == (
        "the test split has a label 5 (1 labels out of range); with 3 classes, labels are 0 to 2"
    )
    assert not (tmp_path / "run").exists()


def test_data_that_changed_since(error_of, run_cli, tmp_path):
    path = tmp_path / "data.npz"
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8)).astype(np.uint8)
    np.savez(path, train_images=images, train_labels=np.arange(100) % 3)
    arguments = (
        "train", f"--config={DIGITS}", f"--workdir={tmp_path / 'run'}", *QUICK,
        "--config.data.source=npz", f"--config.data.path={path}",
    )  # fmt: skip
    assert run_cli(*arguments)[0] == 0
    np.savez(path, train_images=images, train_labels=np.arange(1, 101) % 3)
    line = error_of("eval", f"--workdir={tmp_path / 'run'}")
    assert "this run was trained on other data" in line
    (tmp_path / "run" / "result.json").unlink()
    assert "holds a run on other data" in error_of(*arguments)


def test_image_files_and_a_run_on_floats(error_of, run_cli, tmp_path):
    path = tmp_path / "data.npz"
    images = np.random.default_rng(0).random((100, 8, 8))
    np.savez(path, train_images=images, train_labels=np.arange(100) % 3)
    code, *_ = run_cli(
        "train", f"--config={DIGITS}", f"--workdir={tmp_path / 'run'}", *QUICK,
        "--config.data.source=npz", f"--config.data.path={path}",
    )  # fmt: skip
    assert code == 0
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    line = error_of("predict", f"--workdir={tmp_path / 'run'}", tmp_path / "a.png")
    assert "this run was trained on float32 arrays" in line


# --- the run ---


def test_a_workdir_of_another_config(error_of, run_cli, tmp_path):
    arguments = ("train", f"--config={DIGITS}", f"--workdir={tmp_path}", *QUICK)
    assert run_cli(*arguments)[0] == 0
    line = error_of(*arguments, "--config.seed=3")
    assert f"--workdir={tmp_path} holds a run of another config (config.seed: 0 → 3)" in line
    assert "--overwrite" in line
    assert run_cli(*arguments, "--config.seed=3", "--overwrite")[0] == 0


def test_divergence(run_cli, tmp_path):
    """It has an exit code of its own, and a second start does not repeat it."""
    command = (
        "train", f"--config={DIGITS}", f"--workdir={tmp_path}", *QUICK,
        "--config.optimizer.learning_rate=1e38", "--config.log.every=1 step",
        "--config.checkpoint.every=1 step",
    )  # fmt: skip
    code, _, line = run_cli(*command)
    assert code == 76
    assert re.search(
        r"the loss became NaN or infinite at step \d+ \(learning rate [\de+.]+\); try", line
    )
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "diverged"
    code, _, line = run_cli(*command)
    assert code == 76
    assert f"--workdir={tmp_path} holds a run that diverged at step" in line
    assert len(json.loads((tmp_path / "environment.json").read_text())) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.EIO, "?", "/data/log.txt"),
            "a file cannot be read or written (Input/output error: /data/log.txt); mend that, then run this again",
        ),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 GiB.\nMore"),
            "the device is out of memory (RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 GiB.); "
            "a smaller config.train.global_batch_size, or more config.train.microbatches, needs less",
        ),
    ],
)
def test_an_error_of_the_machine_is_one_line(run_cli, monkeypatch, error, message):
    def fail(_):
        raise error

    monkeypatch.setattr("jaxcnn.cli.lists._optimizers", fail)
    code, _, err = run_cli("optimizers")
    assert (code, err) == (1, f"jaxcnn: error: {message}\n")
