"""Signals, deaths and errors in one process of several: `make test-processes`."""

import time

import pytest

from tests.processes.job import assert_same_run, train

LAST = 1


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed")
    job = train(2, 1, path)
    assert job.wait() == [0, 0], job.output()
    return path / "run"


def resumes(undisturbed, tmp_path, stopped=False):
    job = train(2, 1, tmp_path)
    assert job.wait() == [0, 0], job.output()
    assert_same_run(undisturbed, tmp_path / "run", stopped)


@pytest.mark.parametrize("process", [0, LAST])
@pytest.mark.parametrize("phase", ["start", "compile", "step", "save", "evaluation", "finish"])
def test_sigterm_to_one_ends_all(undisturbed, tmp_path, phase, process):
    job = train(2, 1, tmp_path, FAULT=f"sigterm {phase} {process}")
    first = job.first_end()
    assert job.wait(60) == [75, 75], job.output()
    assert time.monotonic() - first < 30
    assert "stopped by a signal" in job.output()
    assert "Traceback" not in job.output()
    resumes(undisturbed, tmp_path, stopped=True)


@pytest.mark.parametrize("process", [0, LAST])
@pytest.mark.parametrize("phase", ["compile", "step", "save", "evaluation"])
def test_sigkill_of_one_ends_all(undisturbed, tmp_path, phase, process):
    job = train(2, 1, tmp_path, FAULT=f"sigkill {phase} {process}")
    first = job.first_end()
    codes = job.wait(100)
    assert time.monotonic() - first < 60
    assert codes == ([-9, 75] if process == 0 else [75, -9]), job.output()
    (line,) = job.errors()[1 - process]
    assert line.startswith(f"jaxcnn: error: process {process} (")
    assert "is gone" in line
    resumes(undisturbed, tmp_path)


@pytest.mark.parametrize("process", [0, LAST])
@pytest.mark.parametrize("phase", ["start", "step", "save", "evaluation"])
def test_an_error_of_one_ends_all(undisturbed, tmp_path, phase, process):
    job = train(2, 1, tmp_path, FAULT=f"error {phase} {process}")
    first = job.first_end()
    assert job.wait(100) == [1, 1], job.output()
    assert time.monotonic() - first < 60
    lines = job.errors()
    assert lines[process] == ["jaxcnn: error: the image of step 20 cannot be read"], job.output()
    if process != 0:
        (line,) = lines[0]
        assert line.startswith("jaxcnn: error: process 1 (")
        assert line.endswith("): the image of step 20 cannot be read")
    assert "Traceback" not in job.output()
    resumes(undisturbed, tmp_path)


@pytest.mark.parametrize("process", [0, LAST])
def test_a_bug_in_one_ends_all_and_keeps_its_traceback(tmp_path, process):
    job = train(2, 1, tmp_path, FAULT=f"bug step {process}")
    assert job.wait(100) == [1, 1], job.output()
    assert "ZeroDivisionError" in job.outputs()[process]
    if process != 0:
        assert "): ZeroDivisionError: division by zero" in job.errors()[0][0]


@pytest.mark.parametrize("process", [0, LAST])
def test_a_blocked_input_of_one_ends_all(undisturbed, tmp_path, process):
    limit = "--config.processes.stuck_after=15"
    job = train(2, 1, tmp_path, "run", limit, FAULT=f"blocks step {process}")
    job.first_end()
    assert job.wait(30) == [75, 75], job.output()
    (line,) = job.errors()[0]
    assert line.startswith(f"jaxcnn: error: process {process} (")
    assert "has not gone on for 15 s (config.processes.stuck_after)" in line
    resumes(undisturbed, tmp_path)
