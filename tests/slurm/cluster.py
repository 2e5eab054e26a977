"""A SLURM of one machine, from Debian's packages, which are unpacked and not installed."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = (
    "slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "libhwloc15", "liblua5.1-0",
    "libmunge2", "libltdl7", "libjson-c5", "liblz4-1", "libnuma1", "libyaml-0-2", "libdbus-1-3",
)  # fmt: skip
# A requeued job waits until its credential expires, by default for two minutes.
CONFIG = """
ClusterName=jaxcnn
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/none
AuthInfo=cred_expire=10
CredType=cred/none
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
PluginDir={root}/usr/lib/x86_64-linux-gnu/slurm-wlm
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=60
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A running controller and one node."""

    root: Path  # of the unpacked packages
    environment: dict[str, str]

    def run(self, *command: str, **more) -> str:
        """The output of a client such as `sbatch`."""
        program = str(self.root / "usr" / "bin" / command[0])
        done = subprocess.run(
            [program, *command[1:]], env=self.environment, capture_output=True, text=True, **more
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def states(self, job: str) -> set[str]:
        """The states of a job's tasks; COMPLETED once the controller has ended them all."""
        lines = self.run("scontrol", "--oneliner", "show", "job", job).splitlines()
        return {word[9:] for line in lines for word in line.split() if word.startswith("JobState=")}

    def wait(self, job: str, seconds: float) -> set[str]:
        """Waits until all tasks of a job have ended; returns their states."""
        deadline = time.monotonic() + seconds
        while (states := self.states(job)) & {"PENDING", "RUNNING", "COMPLETING", "REQUEUED"}:
            assert time.monotonic() < deadline, states
            time.sleep(1)
        return states


@contextlib.contextmanager
def cluster(folder: Path, cpus: int) -> Iterator[Cluster]:
    """Starts a cluster of one node, and ends it."""
    root = _unpacked(folder)
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            host=socket.gethostname(),
            ports=(_free_port(), _free_port()),
            folder=folder,
            root=root,
            cpus=cpus,
        )
    )
    for name in ("state", "spool"):
        (folder / name).mkdir()
    libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
    environment = {
        **os.environ,
        "SLURM_CONF": str(config),
        "LD_LIBRARY_PATH": f"{libraries / 'slurm-wlm'}:{libraries}",
        "PATH": f"{root / 'usr' / 'bin'}:{os.environ['PATH']}",
    }
    daemons = [
        ["slurmctld-wlm", "-D", "-f", config],
        [
            "slurmd-wlm",
            "-D",
            "-f",
            config,
            "-N",
            "localhost",
            "-d",
            root / "usr/sbin/slurmstepd-wlm",
        ],
    ]
    with contextlib.ExitStack() as stack:
        for name, *arguments in daemons:
            log = stack.enter_context((folder / f"{name}.log").open("w"))
            process = subprocess.Popen(
                [root / "usr" / "sbin" / name, *arguments],
                env=environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        running = Cluster(root, environment)
        deadline = time.monotonic() + 60
        while "idle" not in _answer(running, "sinfo", "--noheader", "--format=%T"):
            assert time.monotonic() < deadline, [
                (folder / f"{name}.log").read_text() for name, *_ in daemons
            ]
            time.sleep(0.5)
        yield running


def _answer(running: Cluster, *command: str) -> str:
    try:
        return running.run(*command)
    except AssertionError:  # the controller does not answer yet
        return ""


def _unpacked(folder: Path) -> Path:
    """The packages' files under one folder, fetched with apt."""
    packages, root = folder / "packages", folder / "root"
    packages.mkdir(mode=0o777)
    subprocess.run(["apt-get", "download", "--quiet", *PACKAGES], cwd=packages, check=True)
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg", "--extract", package, root], check=True)
    return root


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
