"""Jobs of launch/slurm on a real SLURM: `make test-slurm`."""

import json
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxcnn.compare.loading import load_comparison
from jaxcnn.compare.study import Study
from jaxcnn.train.workdir import Workdir
from tests.compare.test_sweep import COMPARISON, record
from tests.conftest import ROOT
from tests.slurm.cluster import cluster
from tests.test_processes import DIGITS, EVERYTHING_ON, final_bits

JAXCNN = str(Path(sys.executable).with_name("jaxcnn"))
SWEEP = ROOT / "launch" / "slurm" / "sweep.sbatch"
TRAIN = ROOT / "launch" / "slurm" / "train.sbatch"
FOUR_TRIALS = COMPARISON.replace('("sgd", "adam")', '("adam",)').replace(
    "trials=3, seeds=2", "trials=2, seeds=1"
)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("slurm"), cpus=2) as running:
        yield running


@pytest.fixture
def submit(slurm, tmp_path):
    """Submits a script of launch/slurm; returns the job's number."""

    def submit(*arguments, **environment):
        exported = {"JAXCNN": JAXCNN, **environment}
        return slurm.run(
            "sbatch",
            "--parsable",
            f"--chdir={tmp_path}",
            f"--export={','.join(['ALL', *(f'{key}={value}' for key, value in exported.items())])}",
            *map(str, arguments),
        ).strip()

    return submit


def study_of(tmp_path, text):
    file = tmp_path / "comparison.py"
    file.write_text(text)
    return file, tmp_path / "study"


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_an_array_of_two_tasks_shares_four_trials(slurm, submit, tmp_path):
    file, study = study_of(tmp_path, FOUR_TRIALS)
    job = submit("--array=0-1", SWEEP, file, study)
    assert slurm.wait(job, 300) == {"COMPLETED"}, logs(tmp_path)
    assert len(Study(study, load_comparison(file)).trials()) == 4
    record(file, study)  # each has a result
    ended = "".join(path.read_text() for path in tmp_path.glob("*.log")).count(": completed, acc")
    assert ended == 4  # none twice


def test_a_task_that_is_preempted_comes_back_and_one_that_is_cancelled_does_not(
    slurm, submit, tmp_path
):
    long = FOUR_TRIALS.replace('"60 steps"', '"3000 steps"').replace('"10 steps"', '"500 steps"')
    file, study = study_of(tmp_path, long)
    job = submit("--array=0-0", SWEEP, file, study)
    metrics = study / "trials" / "adam" / "default" / "metrics.jsonl"
    until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2)
    slurm.run("scancel", "--signal=TERM", f"{job}_0.0")  # to the step, as before a time limit
    until(lambda: "Restarts=1" in slurm.run("scontrol", "show", "job", job))
    assert slurm.wait(job, 400) == {"COMPLETED"}, logs(tmp_path)
    starts = json.loads((metrics.parent / "environment.json").read_text())
    assert len(starts) == 2  # it was resumed

    file, study = study_of(tmp_path, long)
    cancelled = submit("--array=0-0", SWEEP, file, tmp_path / "cancelled")
    metrics = tmp_path / "cancelled" / "trials" / "adam" / "default" / "metrics.jsonl"
    until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2)
    slurm.run("scancel", f"{cancelled}_0")
    assert slurm.wait(cancelled, 120) == {"CANCELLED"}


def test_an_error_is_no_reason_to_come_back(slurm, submit, tmp_path):
    file, study = study_of(tmp_path, FOUR_TRIALS)
    job = submit(
        "--array=0-0", SWEEP, file, study,
        "--config.train.global_batch_size=1000",
    )  # fmt: skip
    assert slurm.wait(job, 120) == {"FAILED"}
    assert "Restarts=0" in slurm.run("scontrol", "show", "job", job)
    assert "jaxcnn: error: trial adam/default" in logs(tmp_path)


@pytest.mark.parametrize("tasks", [1, 2])
def test_a_run_that_is_requeued_ends_with_the_bits_of_an_undisturbed_one(
    slurm, submit, tmp_path, tasks
):
    config = DIGITS.removeprefix("--config=")
    flags = ["--nodes=1", f"--ntasks-per-node={tasks}", TRAIN, config]
    undisturbed, requeued = tmp_path / "undisturbed", tmp_path / "requeued"
    job = submit(*flags, undisturbed, *EVERYTHING_ON)
    assert slurm.wait(job, 300) == {"COMPLETED"}, logs(tmp_path)
    job = submit(*flags, requeued, *EVERYTHING_ON)
    metrics = requeued / "metrics.jsonl"
    until(lambda: metrics.exists() and '"step": 30,' in metrics.read_text())
    slurm.run("scancel", "--signal=TERM", f"{job}.0")  # to the step, as before a time limit
    until(lambda: "Restarts=1" in slurm.run("scontrol", "show", "job", job))
    assert slurm.wait(job, 400) == {"COMPLETED"}, logs(tmp_path)
    starts = json.loads((requeued / "environment.json").read_text())
    assert [start["processes"] for start in starts] == [tasks, tasks]
    jax.tree.map(np.testing.assert_array_equal, final_bits(undisturbed), final_bits(requeued))
    results = [Workdir(workdir).read_result() for workdir in (undisturbed, requeued)]
    assert results[0]["best"] == results[1]["best"]
    assert results[0]["final"] == results[1]["final"]


def test_a_run_that_fails_is_not_requeued(slurm, submit, tmp_path):
    job = submit(TRAIN, "digits_lenet", tmp_path / "run", "--config.train.global_batch_size=0")
    assert slurm.wait(job, 120) == {"FAILED"}
    assert "Restarts=0" in slurm.run("scontrol", "show", "job", job)
    assert "jaxcnn: error: config.train.global_batch_size=0 must be at least 1" in logs(tmp_path)


# In jaxcnn's place: `save` writes the result of a preempted run.
STAND_IN = """#!/bin/bash
workdir=${3#--workdir=}
save() {
    echo '{"status": "preempted"}' > "$workdir/new" && mv "$workdir/new" "$workdir/result.json"
}
"""


@pytest.fixture
def stand_in(tmp_path):
    """Writes a program that does what it is told in jaxcnn's place."""

    def write(body):
        program = tmp_path / "program"
        program.write_text(STAND_IN + body)
        program.chmod(0o755)
        (tmp_path / "run").mkdir()
        return {"JAXCNN": str(program)}

    return write


def test_75_does_not_hide_the_error_of_another_task(slurm, submit, stand_in, tmp_path):
    """The result is of an earlier attempt."""
    program = stand_in("[ $SLURM_PROCID = 0 ] && exit 75; exit 1")
    (tmp_path / "run" / "result.json").write_text('{"status": "preempted"}')
    job = submit("--ntasks-per-node=2", TRAIN, "digits_lenet", tmp_path / "run", **program)
    assert slurm.wait(job, 120) == {"FAILED"}
    shown = slurm.run("scontrol", "show", "job", job)
    assert "Restarts=0" in shown
    assert "ExitCode=75:0" in shown


def test_restarts_have_a_limit(slurm, submit, stand_in, tmp_path):
    program = stand_in("save; exit 75")
    job = submit(TRAIN, "digits_lenet", tmp_path / "run", MAX_RESTARTS=1, **program)
    until(lambda: "Restarts=1" in slurm.run("scontrol", "show", "job", job))
    assert slurm.wait(job, 120) == {"FAILED"}
    assert "Restarts=1" in slurm.run("scontrol", "show", "job", job)
    assert "train.sbatch: preempted again after 1 restarts" in logs(tmp_path)


def test_a_run_that_is_cancelled_is_not_requeued(slurm, submit, stand_in, tmp_path):
    program = stand_in("trap 'save; exit 75' TERM; touch $workdir/ready; sleep 100 & wait")
    job = submit(TRAIN, "digits_lenet", tmp_path / "run", **program)
    until((tmp_path / "run" / "ready").exists)
    slurm.run("scancel", job)
    assert slurm.wait(job, 120) == {"CANCELLED"}
    assert (tmp_path / "run" / "result.json").exists()  # it was saved


def logs(folder):
    return "\n".join(path.read_text() for path in folder.glob("*.log"))
