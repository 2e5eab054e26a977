"""The commands, and what each mistake gets: one line, exit code 1, nothing half-written."""

import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from jaxcnn.config import default_config
from jaxcnn.train.loop import train
from tests.conftest import ROOT

QUICK = (
    "--config.model.name=linear",
    "--config.data.augment=[]",
    "--config.train.duration=20 steps",
    "--config.schedule.warmup=0 steps",
)
DIGITS = ROOT / "configs" / "digits_lenet.py"


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A trained run on digits; not to be changed."""
    config = default_config()
    config.model.name = "linear"
    config.optimizer.learning_rate = 0.01
    config.train.duration = "100 steps"
    config.checkpoint.every = "50 steps"
    workdir = tmp_path_factory.mktemp("finished")
    train(config, workdir)
    return workdir


@pytest.fixture
def photos(tmp_path, rng):
    """root/{dark,light}/*.png"""
    root = tmp_path / "photos"
    for label, name in enumerate(("dark", "light")):
        (root / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 80, (10, 10, 3)).astype(np.uint8) + 150 * np.uint8(label)
            Image.fromarray(pixels).save(root / name / f"{i:02}.png")
    return root


# --- what works ---


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["eval", "--help"], ["predict", "--help"]]
)
def test_help_comes_in_under_two_seconds_and_without_jax(arguments):
    code = (
        "import sys; from jaxcnn.cli import main\n"
        f"try: main({arguments})\n"
        "except SystemExit: pass\n"
        "assert not {'jax', 'tensorflow', 'numpy', 'matplotlib'} & set(sys.modules)"
    )
    start = time.perf_counter()
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert time.perf_counter() - start < 2
    assert "usage: jaxcnn" in answer.stdout


def test_train_eval_predict(run_cli, tmp_path, photos):
    code, out, _ = run_cli(
        "train", f"--config={ROOT / 'configs' / 'folder.py'}", f"--workdir={tmp_path / 'run'}",
        f"--config.data.root={photos}", "--config.data.resize=8", *QUICK,
        "--config.train.global_batch_size=16", "--config.optimizer.learning_rate=0.01",
    )  # fmt: skip
    assert code == 0
    assert re.search(r"test, best \(step \d+\)\s+100\.00%\s+0\.\d{4}\s+4\n", out)
    assert f"curves       {tmp_path / 'run' / 'plots' / 'curves.png'}" in out
    assert re.search(r"try next     \S*jaxcnn eval --workdir=", out)

    code, out, _ = run_cli("eval", f"--workdir={tmp_path / 'run'}", "--split=train")
    assert code == 0
    assert re.search(r"train \(step \d+\)\s+100\.00%", out)

    images = [photos / "dark" / "03.png", photos / "light" / "07.png"]
    code, out, _ = run_cli("predict", f"--workdir={tmp_path / 'run'}", *images)
    assert code == 0
    assert re.search(rf"{images[0]}\n +\d+\.\d\d%  dark\n +\d+\.\d\d%  light\n", out)

    code, out, _ = run_cli("predict", f"--workdir={tmp_path / 'run'}", "--json", *images)
    answers = json.loads(out)
    assert [answer["image"] for answer in answers] == list(map(str, images))
    assert [answer["top5"][0]["class"] for answer in answers] == ["dark", "light"]
    for answer in answers:
        assert sum(guess["probability"] for guess in answer["top5"]) == pytest.approx(1)


def test_eval_reproduces_the_result(run_cli, finished_run):
    result = json.loads((finished_run / "result.json").read_text())
    for checkpoint, which in (("best", "best"), ("latest", "final"), ("100", "final")):
        code, out, _ = run_cli("eval", f"--workdir={finished_run}", f"--checkpoint={checkpoint}")
        assert code == 0
        metrics = result[which]["test"]
        assert f"{metrics['accuracy']:.2%}" in out
        assert f"{metrics['loss']:.4f}" in out
        assert "360" in out


def test_show_batch(run_cli, tmp_path):
    out_file = tmp_path / "sheet.png"
    code, out, _ = run_cli("show-batch", f"--config={DIGITS}", f"--out={out_file}", "--count=16")
    assert code == 0
    assert out == f"16 training images (pad_and_crop): {out_file}\n"
    assert Image.open(out_file).size[1] > 1500  # a row for each image


@pytest.mark.parametrize("command", ["optimizers", "schedules"])
def test_optimizers_and_schedules_are_listed_with_source_and_defaults(run_cli, error_of, command):
    code, out, _ = run_cli(command, "--json")
    listed = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0
    assert all(entry["about"] for entry in listed.values())
    name, setting = {"optimizers": ("adam", "b1"), "schedules": ("cosine", "final")}[command]
    assert listed[name]["settings"][setting] == {"b1": 0.9, "final": 0.0}[setting]
    _, out, _ = run_cli(command, name)
    assert out.splitlines()[0].startswith(f"{name} ")
    assert f"{setting}=" in out
    assert f"no {command[:-1]}'s name matches 'nothing'" in error_of(command, "nothing")


def test_plot_schedule(run_cli, error_of, tmp_path):
    out = tmp_path / "plots" / "schedule.png"
    flags = ("--config.schedule.name=one_cycle", "--config.schedule.warmup=0%", f"--out={out}")
    code, said, _ = run_cli("plot-schedule", f"--config={DIGITS}", *flags)
    assert code == 0
    assert said == f"one_cycle, 1,213 steps, 0 of them warm-up: {out}\n"
    assert Image.open(out).size[0] > 500
    flags = ("--config.schedule.name=step", "--config.schedule.every=now")
    assert "config.schedule.every='now' is not" in error_of(
        "plot-schedule", f"--config={DIGITS}", *flags
    )


def test_a_regression_on_npz_targets_end_to_end(run_cli, error_of, tmp_path, rng):
    """The target is where the bright column is, and its row: two numbers an image."""
    at = rng.integers(0, 8, (300, 2))
    images = rng.integers(0, 50, (300, 8, 8)).astype(np.uint8)
    images[np.arange(300), at[:, 0], at[:, 1]] = 255
    file, workdir = tmp_path / "spots.npz", tmp_path / "run"
    np.savez(
        file, train_images=images[:250], train_targets=10.0 * at[:250],
        test_images=images[250:], test_targets=10.0 * at[250:],
    )  # fmt: skip
    flags = [
        "--config.data.source=npz", f"--config.data.path={file}", "--config.data.resize=0",
        "--config.data.augment=[]", "--config.model.name=mlp", "--config.loss.name=huber",
        "--config.checkpoint.best_metric=mae", "--config.train.duration=40 epochs",
        "--config.optimizer.learning_rate=0.02",
    ]  # fmt: skip
    code, out, _ = run_cli("train", f"--config={DIGITS}", f"--workdir={workdir}", *flags)
    assert code == 0
    assert "mae" in out.split("\n")[1]
    result = json.loads((workdir / "result.json").read_text())
    assert result["final"]["test"]["mae"] < 10  # of 0 … 70; the mean alone is 20 off
    _, out, _ = run_cli("eval", f"--workdir={workdir}", "--checkpoint=latest")
    assert f"{result['final']['test']['mae']:.4f}" in out
    spot = tmp_path / "spot.png"
    Image.fromarray(images[250]).save(spot)
    _, out, _ = run_cli("predict", f"--workdir={workdir}", spot, "--json")
    prediction = json.loads(out)[0]["prediction"]
    assert np.abs(np.array(prediction) - 10 * at[250]).max() < 30

    loss = "--config.loss.name=softmax_cross_entropy"
    message = error_of(
        "train", f"--config={DIGITS}", f"--workdir={tmp_path / 'x'}", *flags, loss,
        "--config.checkpoint.best_metric=loss",
    )  # fmt: skip
    assert message == (
        "config.loss.name='softmax_cross_entropy' is no loss for data with targets; "
        "valid: l1, l2, huber"
    )


def test_models(run_cli):
    code, out, _ = run_cli("models", "*net*")
    assert code == 0
    assert "lenet5                        32×32×1    10 classes  C1 6@5×5, S2" in out
    assert "simple_cnn" not in out
    code, out, _ = run_cli("models", "resnet20_cifar")
    assert code == 0
    assert "  kernel_init           'he_normal_fan_out'\n" in out
    assert "  stage_sizes           (3, 3, 3)\n" in out


def test_models_without_a_match(error_of):
    assert error_of("models", "resnext7*") == (
        "no model's name matches 'resnext7*'; jaxcnn models lists all"
    )


def test_a_folder_with_an_unreadable_image_is_skipped_where_asked(
    run_cli, tmp_path, photos, caplog
):
    broken = photos / "dark" / "05.png"
    broken.write_bytes(broken.read_bytes()[:60])
    arguments = (
        "train", f"--config={ROOT / 'configs' / 'folder.py'}", f"--workdir={tmp_path / 'run'}",
        f"--config.data.root={photos}", "--config.data.resize=8", *QUICK,
        "--config.train.global_batch_size=16",
    )  # fmt: skip
    code, _, err = run_cli(*arguments)
    assert code == 1
    assert f"cannot read the image {broken}" in err
    assert not (tmp_path / "run").exists()
    code, *_ = run_cli(*arguments, "--config.data.on_error=skip")
    assert code == 0
    assert "skipped 1 unreadable of 40 train images" in caplog.text
    assert str(broken) in caplog.text


# --- what does not ---


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
        (["--config.model.pooling=median"], "pooling 'median' does not exist; valid: avg, avg_unpadded, max"),
        (["--config.model.name=simple_cnn", "--config.model.hidden=0"], "config.model.hidden=0 must be at least 1"),
        (["--config.model.name=simple_cnn", "--config.model.widths=(8, 0)"], "config.model.widths=(8, 0) must be at least 1"),
        (["--config.model.name=mlp", "--config.model.widths=(8, 'a')"], "config.model.widths.1='a' has the wrong type"),
        (["--config.model.param_dtype=bfloat16"], "config.model.param_dtype='bfloat16' must be float32 or float64"),
        (["--config.seed=99999999999"], "config.seed=99999999999 must be at least 0 and less than 2³²"),
        (["--config.data.mean=['a']", "--config.data.std=[1]"], "must hold 1 numbers, one per channel"),
        (["--overwirte"], "unknown argument --overwirte; did you mean '--overwrite'?"),
        (["--workdir"], "argument --workdir: expected one argument"),
    ],
)  # fmt: skip
def test_mistakes_in_the_command(error_of, tmp_path, overrides, message):
    workdir = tmp_path / "run"
    line = error_of("train", f"--config={DIGITS}", f"--workdir={workdir}", *overrides)
    assert message in line
    assert not workdir.exists()


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


def test_no_command_and_a_wrong_one(error_of):
    assert "the following arguments are required: COMMAND" in error_of()
    assert "invalid choice: 'trian'" in error_of("trian")


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


def test_a_workdir_of_another_config(error_of, run_cli, tmp_path):
    arguments = ("train", f"--config={DIGITS}", f"--workdir={tmp_path}", *QUICK)
    assert run_cli(*arguments)[0] == 0
    line = error_of(*arguments, "--config.seed=3")
    assert f"--workdir={tmp_path} holds a run of another config (config.seed: 0 → 3)" in line
    assert "--overwrite" in line
    assert run_cli(*arguments, "--config.seed=3", "--overwrite")[0] == 0


def test_divergence(error_of, tmp_path):
    line = error_of(
        "train", f"--config={DIGITS}", f"--workdir={tmp_path}", *QUICK,
        "--config.optimizer.learning_rate=1e38", "--config.log.every=1 step",
        "--config.checkpoint.every=1 step",
    )  # fmt: skip
    assert re.search(
        r"the loss became NaN or infinite at step \d+ \(learning rate [\de+.]+\); try", line
    )
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "diverged"


def test_a_truncated_checkpoint_falls_back_and_says_so(run_cli, finished_run, tmp_path, caplog):
    import shutil

    workdir = tmp_path / "run"
    shutil.copytree(finished_run, workdir)
    (workdir / "result.json").unlink()
    largest = max(
        (
            path
            for path in (workdir / "checkpoints" / "latest" / "100").rglob("*")
            if path.is_file()
        ),
        key=lambda path: path.stat().st_size,
    )
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    config = tmp_path / "same.py"
    config.write_text(
        "import json\nfrom ml_collections import ConfigDict\n"
        f"def get_config():\n    return ConfigDict(json.load(open({str(workdir / 'config.json')!r})))\n"
    )
    code, *_ = run_cli("train", f"--config={config}", f"--workdir={workdir}")
    assert code == 0
    assert f"checkpoint {workdir / 'checkpoints' / 'latest' / '100'} is damaged" in caplog.text
    assert f"resuming {workdir} at step 50" in caplog.text
    before, after = (
        json.loads((directory / "result.json").read_text()) for directory in (finished_run, workdir)
    )
    assert before["best"] == after["best"]
    assert before["final"] == after["final"]


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
    assert "the data is not what this run was trained on" in line
    (tmp_path / "run" / "result.json").unlink()
    assert "holds a run on other data" in error_of(*arguments)


def test_an_interrupted_overwrite_leaves_no_run_that_looks_like_another(
    error_of, finished_run, tmp_path
):
    import shutil

    workdir = tmp_path / "run"
    shutil.copytree(finished_run, workdir)
    (workdir / "config.json").unlink()
    line = error_of("train", f"--config={DIGITS}", f"--workdir={workdir}")
    assert "holds checkpoints but no config.json" in line


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


def test_runs_and_checkpoints_that_are_not_there(error_of, finished_run, tmp_path):
    assert "holds no run (there is no config.json in it)" in error_of(
        "eval", f"--workdir={tmp_path}"
    )
    line = error_of("eval", f"--workdir={finished_run}", "--checkpoint=7")
    assert "--checkpoint=7 does not exist; valid: best, latest, or one of the steps" in line
    line = error_of("eval", f"--workdir={finished_run}", "--split=tset")
    assert "--split=tset: did you mean 'test'?" in line
    line = error_of("predict", f"--workdir={finished_run}", tmp_path / "no.png")
    assert f"cannot read the image {tmp_path / 'no.png'}" in line
    (tmp_path / "text.png").write_text("not a picture")
    line = error_of("predict", f"--workdir={finished_run}", tmp_path / "text.png")
    assert f"cannot read the image {tmp_path / 'text.png'}" in line
