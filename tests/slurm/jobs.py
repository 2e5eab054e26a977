"""Jobs of launch/slurm on a real SLURM: `make test-slurm`."""

import json
import sys
import time
from pathlib import Path

import pytest

from jaxcnn.compare.loading import load_comparison
from jaxcnn.compare.study import Study
from tests.compare.test_sweep import COMPARISON, record
from tests.conftest import ROOT
from tests.slurm.cluster import cluster

JAXCNN = str(Path(sys.executable).with_name("jaxcnn"))
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

    def submit(*arguments):
        return slurm.run(
            "sbatch",
            "--parsable",
            f"--chdir={tmp_path}",
            f"--export=ALL,JAXCNN={JAXCNN}",
            *arguments,
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
    job = submit("--array=0-1", ROOT / "launch" / "slurm" / "sweep.sbatch", file, study)
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
    script = ROOT / "launch" / "slurm" / "sweep.sbatch"
    job = submit("--array=0-0", script, file, study)
    metrics = study / "trials" / "adam" / "default" / "metrics.jsonl"
    until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2)
    slurm.run("scancel", "--signal=TERM", f"{job}_0.0")  # to the step, as before a time limit
    until(lambda: "Restarts=1" in slurm.run("scontrol", "show", "job", job))
    assert slurm.wait(job, 400) == {"COMPLETED"}, logs(tmp_path)
    starts = json.loads((metrics.parent / "environment.json").read_text())
    assert len(starts) == 2  # it was resumed

    file, study = study_of(tmp_path, long)
    cancelled = submit("--array=0-0", script, file, tmp_path / "cancelled")
    metrics = tmp_path / "cancelled" / "trials" / "adam" / "default" / "metrics.jsonl"
    until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2)
    slurm.run("scancel", f"{cancelled}_0")
    assert slurm.wait(cancelled, 120) == {"CANCELLED"}


def test_an_error_is_no_reason_to_come_back(slurm, submit, tmp_path):
    file, study = study_of(tmp_path, FOUR_TRIALS)
    job = submit(
        "--array=0-0", ROOT / "launch" / "slurm" / "sweep.sbatch", file, study,
        "--config.train.global_batch_size=1000",
    )  # fmt: skip
    assert slurm.wait(job, 120) == {"FAILED"}
    assert "Restarts=0" in slurm.run("scontrol", "show", "job", job)
    assert "jaxcnn: error: trial adam/default" in logs(tmp_path)


def logs(folder):
    return "\n".join(path.read_text() for path in folder.glob("*.log"))
