"""How a run starts and is stopped: signals, paths, what it says, and where."""

import logging
import os
import re
import signal
import subprocess
import sys

import jax
import pytest

from jaxcnn.errors import UserError
from jaxcnn.train.preemption import Preempted
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir
from tests.conftest import ROOT
from tests.train.runs import assert_same_bits, final_state


class Signals:
    """An observer that sends its own process a signal after a step."""

    def __init__(self, step, number):
        self.step, self.number, self.sent = step, number, False

    def on_steps(self, step):
        if step >= self.step and not self.sent:
            self.sent = True
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [7, 40])
def test_a_signal_ends_a_loop_over_runs(small_config, blobs, tmp_path, number, step):
    """At the last step too, after which the first run is complete."""
    train(small_config, tmp_path / "whole", dataset=blobs)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def trained(names):
        for name in names:
            observers = [Signals(step, number)]
            train(small_config, tmp_path / name, dataset=blobs, observers=observers)

    with pytest.raises(KeyboardInterrupt) as raised:
        trained(["first", "second"])
    assert not (tmp_path / "second").exists()
    assert isinstance(raised.value, Preempted)
    assert raised.value.result == Workdir(tmp_path / "first").read_result()
    assert raised.value.result["status"] == ("completed" if step == 40 else "preempted")
    assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    assert train(small_config, tmp_path / "first", dataset=blobs)["status"] == "completed"
    assert_same_bits(final_state(tmp_path / "whole"), final_state(tmp_path / "first"))


@pytest.mark.parametrize("name", ["a[1]b", "what?", "*", "{x}", "a b", "ünïcode", "~tilde", "a\nb"])
def test_every_name_that_the_file_system_takes_is_a_workdir(small_config, blobs, tmp_path, name):
    workdir = tmp_path / name
    observers = [Signals(12, signal.SIGINT)]
    with pytest.raises(Preempted):
        train(small_config, workdir, dataset=blobs, observers=observers)
    result = train(small_config, workdir, dataset=blobs)
    assert result["status"] == "completed"
    assert result["best"]["test"]["accuracy"] > 0.5
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert sorted(int(e.name) for e in Workdir(workdir).latest.iterdir()) == [30, 40]


def test_the_home_directory_and_urls(small_config, blobs, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    small_config.train.duration = "10 steps"
    train(small_config, "~/run", dataset=blobs)
    assert Workdir(tmp_path / "run").read_result()["status"] == "completed"
    for url in ("gs://bucket/run", "s3://bucket/run", "file:///tmp/run"):
        with pytest.raises(UserError, match=f"workdir='{url}' must be a path of the file system"):
            train(small_config, url, dataset=blobs)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_uncompiled_training_is_refused(small_config, blobs, tmp_path):
    with jax.disable_jit(), pytest.raises(UserError, match="^JAX_DISABLE_JIT=1: "):
        train(small_config, tmp_path / "run", dataset=blobs)
    assert not (tmp_path / "run").exists()


def test_the_log_is_in_the_workdir_too_of_all_starts(small_config, blobs, tmp_path):
    logger = logging.getLogger("jaxcnn")
    before = list(logger.handlers), logger.level, logger.propagate
    with pytest.raises(Preempted) as stopped:
        train(small_config, tmp_path, dataset=blobs, observers=[Signals(12, signal.SIGTERM)])
    train(small_config, tmp_path, dataset=blobs)
    assert before == (list(logger.handlers), logger.level, logger.propagate)
    lines = Workdir(tmp_path).log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \S", line) for line in lines)
    said = [line[21:] for line in lines]
    assert [line for line in said if line.startswith("resuming")] == [
        f"resuming {tmp_path} at step {stopped.value.result['steps']}"
    ]
    steps = [int(line.split()[1].split("/")[0]) for line in said if line.startswith("step ")]
    assert steps == sorted(steps)
    assert steps[-1] == 40


IN_PYTHON = """
import logging, sys
{setup}
from jaxcnn import load_config, train
config = load_config("digits_lenet", {{"model.name": "linear", "train.duration": "20 steps",
                                     "schedule.warmup": "0 steps"}})
for number in range(2):
    print(train(config, sys.argv[1] + str(number))["status"])
"""


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        ("", 2),
        ("logging.getLogger('jaxcnn').setLevel(logging.WARNING)", 0),
        ("logging.basicConfig(); logging.getLogger('jaxcnn').setLevel(logging.INFO)", 2),
    ],
)
def test_from_python_the_lines_are_seen_once_unless_a_level_is_set(tmp_path, setup, said):
    """As in a notebook, where nobody has set up logging."""
    command = [sys.executable, "-c", IN_PYTHON.format(setup=setup), str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["completed", "completed"]
    assert done.stderr.count("step 20/20  epoch") == said, done.stderr
    assert done.stderr.count("compiling the training step") == said
