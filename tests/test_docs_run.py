"""Every command of README and docs is run, in small; what they quote is said."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxcnn.compare.study import Study
from jaxcnn.data.sources import tfds
from tests.compare.test_report import curve, finish
from tests.compare.test_study import comparison
from tests.conftest import ROOT
from tests.test_docs import COMMANDS, PAGES

# What is not run here, by a part of the command, and why.
ELSEWHERE = {
    "hf://": "a network: tests/transfer/test_hub.py, on loopback",
    "resnet50": "weights of 100 MB, and photographs of 224 pixels: tests/transfer/test_convert.py",
    "resnet20-12fca82f.th": "a file of torch's: make test-torch",
    "weights/resnet20": "what that file was converted to",
    "--topology": "XLA's compiler for TPUs: make test-tpu",
    "fashion.onnx": "the extra onnx: make test-onnx",
    "--coordinator": "several processes: tests/test_several_processes.py",
    "jaxcnn diagnose": "a run of more than three steps: tests/diagnose/test_diagnosis.py",
    "runs/snapshots": "cycles of more than three steps: tests/train/test_ensemble.py",
    "my_parts": "tests/test_package.py runs it, from an installed wheel",
    "jaxcnn sweep --config=ablations/optimizers_digits --workdir": "tests/compare/test_sweep.py",
}
BUT_RUN = ("jaxcnn summary resnet50",)  # it needs no weights
IN_SMALL = (
    "--config.train.duration=3 steps", "--config.train.global_batch_size=16",
    "--config.schedule.warmup=0 steps", "--config.eval.global_batch_size=2000",
)  # fmt: skip


def reason_not_to_run(command):
    if command.startswith(BUT_RUN):
        return None
    return next((why for part, why in ELSEWHERE.items() if part in command), None)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An empty checkout with what the pages presuppose: configs, photos, studies."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "configs").symlink_to(ROOT / "configs")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(30):
            pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{i:03}.jpg")
    for name in ("shirt.png", "boot.jpg", "new.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8)).save(folder / name)
    for name in ("digits", "fashion"):
        study = Study(folder / "studies" / name, comparison(seeds=5)).open()
        for _ in range(2):
            for trial in study.extend():
                if not study.outcome(trial):
                    finish(study, trial, curve(trial, 0.8 if trial.arm == "sgd" else 0.9))
    for name in "abc":
        shutil.copytree(study.workdir(study.trials()[0]).path, folder / "runs" / name)
        config = study.comparison.config("sgd", seed=ord(name))
        (folder / "runs" / name / "config.json").write_text(config.to_json())
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_images():
    """The first 1,500 images of each split, read once: to read all takes longer than these runs."""

    kept = {}

    def read_once(builder, name, splits):
        if name not in kept:
            read = in_memory(builder, name, splits)
            kept[name] = {split: images[:1500] for split, images in read.items()}
        return kept[name]

    in_memory = tfds._in_memory
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfds, "_in_memory", read_once)
        yield


# Those that train come first: a page may use a run before the command that makes it in small.
# What two pages show is run once.
RUN = sorted(
    dict.fromkeys(
        shlex.join(shlex.split(command, comments=True))
        for _, command in COMMANDS
        if reason_not_to_run(command) is None
    ),
    key=lambda command: not command.startswith("jaxcnn train"),
)


@pytest.mark.parametrize("command", RUN)
def test_a_command_runs(command, place, run_cli, monkeypatch, tfds_dir):
    monkeypatch.chdir(place)
    words = shlex.split(command.replace("$seed", "0"), comments=True)[1:]
    trains = words[0] == "train"
    code, out, err = run_cli(*words, *(IN_SMALL if trains else ()))
    assert code == 0, err
    if trains and "--dry_run" not in words:
        assert "workdir      runs/" in out
    elif trains:
        assert "61,706" in out or json.loads(out)["parameters"] == 61706


def test_what_is_not_run_is_in_the_pages():
    for part in ELSEWHERE:
        assert any(part in command for _, command in COMMANDS), part


def quoted_outputs():
    """(command, output) of the blocks that begin with a prompt."""
    for page in PAGES:
        for block in re.findall(r"^```\n\$ (.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            command, _, output = block.partition("\n")
            yield command, output


@pytest.mark.parametrize(("command", "output"), quoted_outputs())
def test_a_quoted_output_is_what_is_printed(command, output, place, run_cli, monkeypatch):
    monkeypatch.chdir(place)
    _, out, err = run_cli(*shlex.split(command)[1:])
    printed = [line for line in (out + err).splitlines() if line != "runs/x: starting"]
    for line, quoted in zip(printed, output.splitlines(), strict=True):
        beginning, dots, _ = quoted.partition("…")
        assert line.startswith(beginning) if dots else line == quoted


def shape(line):
    """A line without its numbers and the place of the programs."""
    line = line.replace(".venv/bin/", "")
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.,]*", "N", line)).strip()


def test_the_readmes_table_is_what_make_train_prints(place, run_cli, monkeypatch):
    monkeypatch.chdir(place)
    text = (ROOT / "README.md").read_text()
    block = re.search(r"`make train` ends with.*?```\n(.*?)```", text, re.DOTALL)[1]
    _, out, _ = run_cli("train", "--config=digits_lenet", "--workdir=runs/digits_lenet", *IN_SMALL)
    printed = [re.sub(r"\S*/(?=jaxcnn |tensorboard )", "", line) for line in out.splitlines()]
    assert [shape(line) for line in block.splitlines()] == [shape(line) for line in printed[1:]]
