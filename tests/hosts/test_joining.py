"""How processes find each other, and what is refused; real jobs are in tests/processes."""

import socket

import pytest

from jaxcnn.errors import UserError
from jaxcnn.hosts import joining
from jaxcnn.hosts.joining import Job, _found_job, _job_of, join

pytestmark = pytest.mark.fast

SLURM = {
    "SLURM_JOB_ID": "4242",
    "SLURM_STEP_NODELIST": "node[007-008]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in (
        *SLURM,
        "KUBERNETES_SERVICE_HOST",
        "OMPI_MCA_orte_hnp_uri",
        "JAX_COORDINATOR_PORT",
    ):
        monkeypatch.delenv(name, raising=False)


def test_the_flags_go_together():
    assert _job_of("", None, None) is None
    assert _job_of("node7:1234", 4, 2) == Job("node7:1234", 4, 2, "by flags")
    assert _job_of("", 1, None).processes == 1
    for flags in (("node7:1234", None, None), ("", 2, None), ("", 2, 0), ("node7:1234", 2, None)):
        with pytest.raises(
            UserError, match="--coordinator, --num_processes and --process_id go tog"
        ):
            _job_of(*flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("node7", 2, 0), "--coordinator=node7 must be HOST:PORT"),
        (("node7:high", 2, 0), "--coordinator=node7:high must be HOST:PORT"),
        (("node7:0", 2, 0), "--coordinator=node7:0 must be HOST:PORT"),
        (("node7:1234", 0, 0), "--num_processes=0 must be at least 1"),
        (("node7:1234", 2, 2), "--process_id=2 must be 0 to 1"),
        (("node7:1234", 2, -1), "--process_id=-1 must be 0 to 1"),
    ],
)
def test_a_wrong_flag_is_named(flags, message):
    with pytest.raises(UserError, match=message):
        join(*flags)


def test_without_a_cluster_there_is_one_process():
    assert _found_job() is None
    join()


def test_a_step_of_slurm_is_recognised(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JAX_COORDINATOR_PORT", "1234")
    assert _found_job() == Job("node007:1234", 2, 1, "SLURM")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert _found_job() is None


def test_open_mpi_is_recognised(monkeypatch):
    monkeypatch.setenv("OMPI_MCA_orte_hnp_uri", "4096.0;tcp://10.96.0.1:34911")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_RANK", "0")
    monkeypatch.setenv("JAX_COORDINATOR_PORT", "1234")
    assert _found_job() == Job("10.96.0.1:1234", 3, 2, "Open MPI")


def test_tasks_that_would_train_alone_are_refused(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "2")  # of a batch script, without srun
    monkeypatch.setenv("SLURM_PROCID", "0")
    with pytest.raises(UserError, match="SLURM has SLURM_NTASKS=2 tasks, .* start it with srun"):
        join()
    join(num_processes=1)


def test_a_pod_that_would_train_alone_is_refused(monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "3")
    monkeypatch.setattr(joining.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pod of an indexed Job, .* pip install kubernetes"):
        join()


def test_a_coordinator_that_is_not_there_is_named_in_time():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    message = (
        f"coordinator 127.0.0.1:{port}: process 0 cannot be reached within 1 s: Connection refused"
    )
    with pytest.raises(UserError, match=message):
        join(f"127.0.0.1:{port}", 2, 1, timeout=1)


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            UserError, match=f"process 0 cannot use port {port}: Address already in"
        ):
            join(f"127.0.0.1:{port}", 2, 0)
