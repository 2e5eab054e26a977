"""train, eval and predict: what they print and write, and how they treat a finished run."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxcnn.config import default_config
from jaxcnn.train.start import train
from tests.conftest import DIGITS, QUICK, ROOT, start_jaxcnn


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


def test_train_eval_predict(run_cli, tmp_path, photos, curves):
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


def test_predict_on_folders_and_patterns(run_cli, finished_run, tmp_path, rng):
    """A bad file is named, and the others are predicted all the same."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    names = ["a.png", "b.jpg", "deep/c.png"]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    run = f"--workdir={finished_run}"
    paths = [str(folder / name) for name in names]

    code, out, _ = run_cli("predict", run, folder, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["image"] for row in rows] == paths
    code, out, _ = run_cli("predict", run, folder / "**" / "*.png", folder / "b.jpg", "--json")
    entries = {entry["image"]: entry["top5"] for entry in json.loads(out)}
    assert code == 0
    assert list(entries) == [paths[0], paths[2], paths[1]]
    for row in rows:
        for number, guess in enumerate(entries[row["image"]], start=1):
            assert row[f"class_{number}"] == guess["class"]
            assert float(row[f"probability_{number}"]) == pytest.approx(guess["probability"])

    (folder / "b.jpg").write_bytes(b"no image")
    code, out, err = run_cli("predict", run, folder, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 1
    assert err.endswith("error: 1 of 3 images cannot be read; see above\n")
    assert f"cannot read the image {paths[1]}" in rows[1]["error"]
    assert rows[1]["class_1"] == ""
    assert [row["error"] for row in (rows[0], rows[2])] == ["", ""]
    code, out, _ = run_cli("predict", run, folder)
    assert code == 1
    assert paths[0] in out
    assert paths[1] not in out

    code, _, err = run_cli("predict", run, folder / "*.bmp")
    assert (code, err) == (1, f"jaxcnn: error: IMAGE={folder / '*.bmp'} matches no file\n")
    (tmp_path / "empty").mkdir()
    code, _, err = run_cli("predict", run, tmp_path / "empty")
    assert code == 1
    assert "is a folder without .jpg, .jpeg, .png" in err
