"""Help, lists and pictures: the commands that need no run."""

import json
import subprocess
import sys
import time

import pytest
from PIL import Image

import jaxcnn
from jaxcnn.cli import main as cli
from jaxcnn.config import shipped_configs
from tests.conftest import DIGITS


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
    assert "\n\nComparisons, for jaxcnn sweep:\nablations/" in run_cli("configs")[1]
    assert run_cli("configs", "abl*")[1].startswith("Comparisons, for jaxcnn sweep:\nablations/")
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


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("", "jaxcnn: error: argument COMMAND: invalid choice: 'nothing'"),
        ("main._parse = lambda *_: 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_an_error_ends_the_program_although_a_thread_goes_on(fails, said):
    """Python itself would wait for the thread."""
    program = f"""
import sys, threading, time
from jaxcnn.cli import main
sys.argv = ["jaxcnn", "nothing"]
threading.Thread(target=time.sleep, args=(300,)).start()
{fails}
main.main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert said in ended.stderr
