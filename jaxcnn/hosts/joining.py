"""How processes find each other: by flags, or in the environment of a cluster."""

import atexit
import ctypes
import importlib.util
import logging
import os
import socket
import time
from typing import NamedTuple

import jax
from jax._src.clusters import ClusterEnv  # jax finds its clusters only within `initialize`
from jax._src.distributed import global_state

from jaxcnn.errors import UserError
from jaxcnn.hosts import ending
from jaxcnn.hosts.agreement import each, primary

log = logging.getLogger(__name__)

TIMEOUT = 300  # seconds, until every process must have joined; nodes of a cluster start one by one
_HEARTBEATS = 30  # seconds without any, after which a process is gone

# The cluster's variables for the number of processes and for this one's number: where there are
# several and they do not find each other, each would train alone.
_LAUNCHED = {
    "SLURM": ("SLURM_NTASKS", "SLURM_PROCID", "start it with srun"),
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "start it with mpirun"),
}
_NAMES = {"slurm": "SLURM", "ompi": "Open MPI", "k8s": "Kubernetes"}
_FLAGS = "--coordinator, --num_processes and --process_id"


class Job(NamedTuple):
    """Processes that are to train together, and this one's number among them."""

    coordinator: str  # host:port of process 0
    processes: int
    process: int
    found: str  # how, for the log


def join(
    coordinator: str = "",
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: int = TIMEOUT,
) -> None:
    """Joins the other processes of the job; call it once, before anything uses a device.

    Without arguments, SLURM, Cloud TPU, Open MPI and Kubernetes say which processes there are;
    outside of a cluster there is one. `num_processes=1` alone trains in one process, even there.

    Args:
      coordinator: host:port of process 0.
      timeout: seconds until all have joined.

    Raises:
      UserError: the arguments are incomplete, the others cannot be found or reached, or GPUs of this
        host would stay idle.
    """
    job = _job_of(coordinator, num_processes, process_id) or _found_job()
    if job is None or job.processes == 1:
        return
    _connect(job, timeout)
    if not primary():
        logging.getLogger("jaxcnn").setLevel(logging.ERROR)  # the primary says what all would say
    _check_devices()
    devices = each([jax.local_device_count(), jax.local_devices()[0].device_kind])
    kinds = " + ".join(f"{number} {kind}" for number, kind in devices)
    if len({tuple(entry) for entry in devices}) == 1:
        number, kind = devices[0]
        kinds = f"{number} {kind} each"
    log.info("%d processes (%s): %s", job.processes, job.found, kinds)


def _job_of(coordinator: str, processes: int | None, process: int | None) -> Job | None:
    """The job that the flags describe; None without flags."""
    given = [coordinator or None, processes, process]
    if given == [None, None, None]:
        return None
    if given == [None, 1, None]:
        return Job("", 1, 0, "")
    if None in given:
        raise UserError(f"{_FLAGS} go together; or --num_processes=1 alone, for a single process")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator={coordinator} must be HOST:PORT, of process 0")
    if processes < 1:
        raise UserError(f"--num_processes={processes} must be at least 1")
    if not 0 <= process < processes:
        raise UserError(f"--process_id={process} must be 0 to {processes - 1}")
    return Job(coordinator, processes, process, "by flags")


def _found_job() -> Job | None:
    """The job that the cluster's environment describes; None where there is no cluster."""
    _check_kubernetes()
    for cluster in ClusterEnv._cluster_types:
        if cluster.opt_in_only_method or not cluster.is_env_present():
            continue
        processes = cluster.get_process_count()
        if processes == 1:
            return None
        port = os.environ.get("JAX_COORDINATOR_PORT")
        try:
            address = cluster.get_coordinator_address(TIMEOUT, port)
        except RuntimeError as error:
            raise UserError(f"the job's first process cannot be found: {error}") from error
        found = _NAMES.get(cluster.name, "Cloud TPU")
        return Job(address, processes, cluster.get_process_id(), found)
    for launcher, (number, rank, advice) in _LAUNCHED.items():
        if int(os.environ.get(number, 1)) > 1 and rank in os.environ:
            raise UserError(
                f"{launcher} has {number}={os.environ[number]} tasks, which do not find each other: "
                f"each would train alone; {advice}, give {_FLAGS}, or --num_processes=1"
            )
    return None


def _check_kubernetes() -> None:
    """Refuses a pod of an indexed Job that has no way to find the other pods."""
    on_tpu = "TPU_WORKER_HOSTNAMES" in os.environ
    indexed = "KUBERNETES_SERVICE_HOST" in os.environ and "JOB_COMPLETION_INDEX" in os.environ
    if indexed and not on_tpu and importlib.util.find_spec("kubernetes") is None:
        raise UserError(
            "this is a pod of an indexed Job, which without the package 'kubernetes' does not find the "
            f"others: each would train alone; pip install kubernetes, give {_FLAGS}, or "
            "--num_processes=1"
        )


def _connect(job: Job, timeout: int) -> None:
    """Connects to process 0's service, or starts it."""
    host, port = job.coordinator.rsplit(":", 1)
    _check_port(job) if job.process == 0 else _wait_for(host.strip("[]"), int(port), timeout)
    # jax's own service for preemption takes Python's handler of SIGTERM. Recoverable tasks are those
    # whose loss the others may survive: long enough to say which one it was, and to end in order.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_enable_recoverability", True)
    ending.expect_abort(
        f"coordinator {job.coordinator}: not all {job.processes} processes have joined within "
        f"{timeout} s"
    )
    jax.distributed.initialize(
        job.coordinator,
        job.processes,
        job.process,
        cluster_detection_method="deactivate",
        initialization_timeout=timeout,
        heartbeat_timeout_seconds=_HEARTBEATS,
    )
    global_state.client.key_value_set(f"host/{job.process}", socket.gethostname())
    ending.expect_loss_of(host.strip("[]"), int(port))
    atexit.register(ending.part)


def _check_port(job: Job) -> None:
    port = int(job.coordinator.rsplit(":", 1)[1])
    with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise UserError(
                f"coordinator {job.coordinator}: process 0 cannot use port {port}: {error.strerror}"
            ) from error


def _wait_for(host: str, port: int, timeout: int) -> None:
    """Waits for process 0; jax's own connection would abort this process after the time."""
    deadline, reason = time.monotonic() + timeout, ""
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except OSError as error:
            reason = error.strerror or str(error)
            time.sleep(0.2)
    raise UserError(
        f"coordinator {host}:{port}: process 0 cannot be reached within {timeout} s: {reason}"
    )


def _check_devices() -> None:
    """Refuses GPUs of a host that no process uses.

    Raises:
      UserError: there are some.
    """
    if jax.default_backend() != "gpu":
        return
    here = each([socket.gethostname(), jax.local_device_count(), _gpus_here()])
    for host in {host for host, _, _ in here}:
        used = sum(number for name, number, _ in here if name == host)
        there = max(gpus for name, _, gpus in here if name == host)
        if used < there:
            raise UserError(
                f"{host}: {there - used} of {there} GPUs would stay idle; start one process that sees "
                "them all, or one for each"
            )


def _gpus_here() -> int:
    """The GPUs of this host that the job may use: CUDA's driver counts those that are visible."""
    try:
        number = ctypes.c_int()
        ctypes.CDLL("libcuda.so.1").cuDeviceGetCount(ctypes.byref(number))
    except OSError:
        return 0
    return number.value
