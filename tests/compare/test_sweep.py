"""Sweeps with real processes: killed, stopped, several at once. What comes out is always the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from jaxcnn.compare.loading import load_comparison
from jaxcnn.compare.study import Study
from tests.conftest import ROOT, start_jaxcnn

COMPARISON = """
from jaxcnn.compare import Arm, Comparison, LogUniform
from jaxcnn.config import default_config

def get_comparison():
    base = default_config()
    base.model.name = "linear"
    base.data.update({"source": "synthetic", "train_images": 200, "test_images": 50})
    base.data.update({"height": 8, "width": 8, "classes": 3, "placement": "device"})
    base.train.update({"duration": "60 steps", "global_batch_size": 20})
    base.eval.every = base.checkpoint.every = "10 steps"
    space = {"optimizer.learning_rate": LogUniform(1e-4, 0.1)}
    arms = {name: Arm({"optimizer.name": name}, space) for name in ("sgd", "adam")}
    return Comparison("Small", base, arms, target=0.9, trials=3, seeds=2)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("comparison") / "small.py"
    path.write_text(COMPARISON)
    return path


@pytest.fixture(scope="module")
def one_worker(file, tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "study"
    output, code = finish(start_jaxcnn("sweep", f"--config={file}", f"--workdir={path}"))
    assert code == 0, output
    assert "all 12 trials have ended" in output
    return record(file, path)


def finish(process):
    output, _ = process.communicate(timeout=300)
    return output, process.returncode


def record(file, path):
    """All that a study found, without times."""
    study = Study(path, load_comparison(file))
    trials = study.trials()
    assert all(study.outcome(trial) for trial in trials)
    results = {
        trial.name: {k: v for k, v in study.outcome(trial).result.items() if k != "seconds"}
        for trial in trials
    }
    evaluations = {  # a run that a signal stopped has a training line more
        trial.name: [
            line for line in study.workdir(trial).read_metrics() if line["split"] == "validation"
        ]
        for trial in trials
    }
    return (path / "trials.jsonl").read_text(), results, evaluations


def workers_of(process):
    try:
        return psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []


def ended(path):
    return len(list(path.glob("trials/*/*/result.json")))


def wait_for_trials(process, path, number):
    """Until so many trials have ended."""
    while ended(path) < number:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def test_two_workers_that_are_killed_find_what_one_finds(file, one_worker, tmp_path):
    path = tmp_path / "study"
    process = start_jaxcnn("sweep", f"--config={file}", f"--workdir={path}", "--workers=2")
    chance = random.Random(0)
    for number in (1, 5):
        wait_for_trials(process, path, number)
        time.sleep(chance.uniform(0.0, 0.5))  # anywhere in the next trial
        workers_of(process)[0].kill()
    output, code = finish(process)
    assert code == 0, output
    assert output.count("a worker was killed (SIGKILL)") == 2
    assert record(file, path) == one_worker


def test_a_signal_ends_a_sweep_and_the_same_command_goes_on(file, one_worker, tmp_path):
    """SIGTERM; then, in what is left of the sweep, SIGINT."""
    path = tmp_path / "study"
    command = "sweep", f"--config={file}", f"--workdir={path}", "--workers=2"
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start_jaxcnn(*command)
        wait_for_trials(process, path, ended(path) + 1)
        workers = workers_of(process)
        process.send_signal(number)
        output, code = finish(process)
        assert (code, output.splitlines()[-1]) == (
            75, "stopped by a signal; everything is saved, and the same command resumes the sweep",
        )  # fmt: skip
        assert not any(worker.is_running() for worker in workers)
    output, code = finish(start_jaxcnn(*command))
    assert code == 0, output
    assert record(file, path) == one_worker


def test_workers_that_are_started_by_hand_share_a_study(file, one_worker, tmp_path):
    command = "sweep", f"--config={file}", f"--workdir={tmp_path / 'study'}", "--worker"
    outputs = [finish(process) for process in [start_jaxcnn(*command) for _ in range(2)]]
    assert [code for _, code in outputs] == [0, 0], outputs
    ended = "".join(output for output, _ in outputs).count(": completed, accuracy")
    assert ended == 12  # none twice
    assert record(file, tmp_path / "study") == one_worker


def test_an_error_in_a_worker_ends_the_sweep(file, tmp_path):
    process = start_jaxcnn(
        "sweep", f"--config={file}", f"--workdir={tmp_path / 'study'}",
        "--config.train.global_batch_size=1000",
    )  # fmt: skip
    output, code = finish(process)
    assert code == 1
    errors = [line for line in output.splitlines() if line.startswith("jaxcnn: error: ")]
    assert errors[0].startswith(
        "jaxcnn: error: trial sgd/default: config.train.global_batch_size=1000"
    )
    assert "for the reason above" in errors[1]
    assert "Traceback" not in output


def test_a_full_disk_in_mid_study_loses_nothing(file, one_worker, tmp_path, on_a_small_disk):
    """Its 700 KiB hold some of the trials."""
    errors, said, stderr = on_a_small_disk(
        "700k", "study", "sweep", f"--config={file}", "--workdir={disk}/study"
    )
    assert said.startswith("1\n"), stderr
    assert "No space left on device" in errors[0], stderr
    assert len(errors) == 2  # the worker's, and the sweep's, which refers to it
    assert "Traceback" not in stderr
    assert 0 < int(said.split("ended: ")[1].split()[0]) < 12
    assert "second: 0" in said, stderr
    assert record(file, tmp_path / "study") == one_worker


def test_a_custom_optimizer_takes_part(file, tmp_path):
    """Nothing of the package is touched: a module beside the comparison registers it."""
    (tmp_path / "my_optimizers.py").write_text(
        "import optax\n"
        "from jaxcnn import register_optimizer\n"
        "@register_optimizer('signs')\n"
        "def signs(learning_rate=0.01, decay=0.9):\n"
        "    return optax.chain(optax.trace(decay), optax.scale_by_sign(), optax.sgd(learning_rate))\n"
    )
    text = file.read_text().replace('for name in ("sgd", "adam")', 'for name in ("sgd", "signs")')
    text = text.replace("    return", '    base.imports = ("my_optimizers",)\n    return')
    (tmp_path / "mine.py").write_text(text)
    process = subprocess.run(
        [sys.executable, "-m", "jaxcnn", "sweep", "--config=mine.py", "--workdir=study"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    results = [
        json.loads(path.read_text()) for path in tmp_path.glob("study/trials/signs/*/result.json")
    ]
    assert [result["status"] for result in results] == ["completed"] * 6
    assert len({result["final"]["validation"]["loss"] for result in results}) == 6
    report = subprocess.run(
        [sys.executable, "-m", "jaxcnn", "report", "study"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert report.returncode == 0, report.stderr
    page = (tmp_path / "study" / "report.html").read_text()
    assert "signs" in page
    assert "<pre>jaxcnn sweep --config=mine.py --workdir=study</pre>" in page
