"""The commands: what they say and leave behind, and how they treat a run that is finished."""

import json
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import jaxcnn
from jaxcnn.cli import main as cli
from jaxcnn.config import default_config, shipped_configs
from jaxcnn.train.start import train
from tests.conftest import DIGITS, QUICK, ROOT, start_jaxcnn


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["eval", "--help"], ["predict", "--help"]]
)
def test_help_comes_in_under_two_seconds_and_without_jax(arguments):
    code = (
        "import sys; from jaxcnn.cli.main import main\n"
        f"try: main({arguments})\n"
        "except SystemExit: pass\n"
        "assert not {'jax', 'tensorflow', 'numpy', 'matplotlib'} & set(sys.modules)"
    )
    start = time.perf_counter()
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert time.perf_counter() - start < 2
    assert "usage: jaxcnn" in answer.stdout


def test_the_help_and_the_version_read_well(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as left:
        cli.main(["--help"])
    assert left.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  plot-schedule  draw the learning-rate schedule of a run" in lines
    assert "  COMMAND" not in lines
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"jaxcnn {jaxcnn.__version__}\n"


def test_configs_are_listed_with_what_they_say_of_themselves(run_cli, error_of):
    code, out, _ = run_cli("configs", "digits_l*")
    assert code == 0
    assert out.startswith("digits_lenet  LeNet-5 on scikit-learn's 1,797 digits")
    assert out.count("\n") == 1
    listed = json.loads(run_cli("configs", "--json")[1])
    assert {config["name"] for config in listed} == set(shipped_configs())
    assert listed[0]["file"] == str(shipped_configs()[listed[0]["name"]])
    assert "no config's name matches 'digit_lenet'; did you mean" in error_of(
        "configs", "digit_lenet"
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


def test_show_batch(run_cli, tmp_path):
    out_file = tmp_path / "sheet.png"
    code, out, _ = run_cli("show-batch", f"--config={DIGITS}", f"--out={out_file}", "--count=16")
    assert code == 0
    assert out == f"16 training images (pad_and_crop): {out_file}\n"
    assert Image.open(out_file).size[1] > 1500  # a row for each image


# --- train, eval, predict ---


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
        "config.loss.name='softmax_cross_entropy' is not a loss for data with targets; "
        "valid: huber, l1, l2"
    )


# --- a finished run ---


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


def test_eval_reproduces_the_result(run_cli, finished_run):
    result = json.loads((finished_run / "result.json").read_text())
    for checkpoint, which in (("best", "best"), ("latest", "final"), ("100", "final")):
        code, out, _ = run_cli("eval", f"--workdir={finished_run}", f"--checkpoint={checkpoint}")
        assert code == 0
        metrics = result[which]["test"]
        assert f"{metrics['accuracy']:.2%}" in out
        assert f"{metrics['loss']:.4f}" in out
        assert "360" in out


def test_eval_in_json_and_how_much_is_said(run_cli, error_of, finished_run, tmp_path):
    result = json.loads((finished_run / "result.json").read_text())["best"]
    code, out, err = run_cli("eval", f"--workdir={finished_run}", "--json")
    assert (code, err) == (0, "")  # no line of a library's either
    assert json.loads(out) == {"split": "test", "step": result["step"], **result["test"]}
    assert "not allowed with argument" in error_of("eval", f"--workdir={finished_run}", "-q", "-v")
    for flags, message in (
        (
            ("--data=photos", "--config.data.root=photos"),
            "--data is for other images than the run's",
        ),
        (("--config.seed=1",), "config.seed cannot change for an evaluation"),
    ):
        assert message in error_of("eval", f"--workdir={finished_run}", *flags)


def test_quiet_says_warnings_and_the_result_alone(tmp_path):
    quiet = start_jaxcnn("train", f"--config={DIGITS}", f"--workdir={tmp_path}", *QUICK, "-q")
    output, _ = quiet.communicate()
    assert quiet.returncode == 0
    assert output.lstrip().startswith("accuracy")
    assert "step 20/20" in (tmp_path / "log.txt").read_text()


def test_a_truncated_checkpoint_falls_back_and_says_so(run_cli, finished_run, tmp_path, caplog):
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


def test_an_interrupted_overwrite_leaves_no_run_that_looks_like_another(
    error_of, finished_run, tmp_path
):
    workdir = tmp_path / "run"
    shutil.copytree(finished_run, workdir)
    (workdir / "config.json").unlink()
    line = error_of("train", f"--config={DIGITS}", f"--workdir={workdir}")
    assert "holds checkpoints but no config.json" in line


def test_runs_and_checkpoints_that_are_not_there(error_of, finished_run, tmp_path):
    assert "holds no run (there is no config.json in it)" in error_of(
        "eval", f"--workdir={tmp_path}"
    )
    line = error_of("eval", f"--workdir={finished_run}", "--checkpoint=7")
    assert "--checkpoint='7' does not exist; valid: best, latest, or one of the steps" in line
    line = error_of("eval", f"--workdir={finished_run}", "--split=tset")
    assert "--split='tset': did you mean 'test'?" in line
    line = error_of("predict", f"--workdir={finished_run}", tmp_path / "no.png")
    assert f"cannot read the image {tmp_path / 'no.png'}" in line
    (tmp_path / "text.png").write_text("not a picture")
    line = error_of("predict", f"--workdir={finished_run}", tmp_path / "text.png")
    assert f"cannot read the image {tmp_path / 'text.png'}" in line
