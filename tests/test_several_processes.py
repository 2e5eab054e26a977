"""Two real processes train together; tests/processes has every phase and every layout."""

import numpy as np
import pytest

from jaxcnn.train.workdir import Workdir
from tests.processes.job import train

FLOAT64 = (
    "--config.model.dtype=float64", "--config.model.param_dtype=float64", "--config.log.every=1 step",
)  # fmt: skip


def job(processes, devices, tmp_path, name, **environment):
    return train(processes, devices, tmp_path, name, *FLOAT64, JAX_ENABLE_X64="1", **environment)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The workdir of a run on one device."""
    path = tmp_path_factory.mktemp("alone")
    one = job(1, 1, path, "run")
    assert one.wait() == [0], one.output()
    return Workdir(path / "run")


def assert_as(alone, workdir):
    """The same numbers to 1e-9, in the same lines, each once."""
    lines, others = alone.read_metrics(), workdir.read_metrics()
    for line, other in zip(lines, others, strict=True):
        for key in line.keys() - {"examples_per_second", "split"}:
            np.testing.assert_allclose(other[key], line[key], rtol=1e-9, err_msg=f"{key}: {line}")
    assert [line["split"] for line in lines] == [line["split"] for line in others]
    results = [directory.read_result() for directory in (alone, workdir)]
    assert [result["final"]["test"]["count"] for result in results] == [360, 360]


def test_two_processes_with_two_devices_are_one_device(alone, tmp_path):
    two = job(2, 2, tmp_path, "run")
    assert two.wait() == [0, 0], two.output()
    assert_as(alone, Workdir(tmp_path / "run"))
    first, last = two.outputs()
    assert "2 processes (by flags): 2 cpu each" in first
    assert "step" not in last  # what is said, one process says


def test_a_signal_to_one_stops_both_and_one_process_goes_on(alone, tmp_path):
    two = job(2, 1, tmp_path, "run", FAULT="sigterm step 1")
    assert two.wait() == [75, 75], two.output()
    assert Workdir(tmp_path / "run").read_result()["status"] == "preempted"
    one = job(1, 1, tmp_path, "run")
    assert one.wait() == [0], one.output()
    assert_as(alone, Workdir(tmp_path / "run"))


def test_an_error_in_one_is_told_to_both(tmp_path):
    two = job(2, 1, tmp_path, "run", FAULT="error step 1")
    assert two.wait() == [1, 1], two.output()
    (told,), (said,) = two.errors()
    assert said == "jaxcnn: error: the image of step 20 cannot be read"
    assert told.startswith("jaxcnn: error: process 1 (")
    assert told.endswith("): the image of step 20 cannot be read")
