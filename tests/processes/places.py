"""Processes on several hosts, which are network and mount namespaces here: `make test-processes`.

Needs root, as a namespace does.
"""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.processes.job import free_port, train

HOSTS = ("jaxcnn-a", "jaxcnn-b")


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def two_hosts():
    """Two network namespaces with addresses of their own, 10.99.0.1 and 10.99.0.2."""
    for host in HOSTS:
        subprocess.run(["ip", "netns", "delete", host], capture_output=True)
        ip("netns", "add", host)
    ip(
        "link",
        "add",
        "jaxcnn0",
        "netns",
        HOSTS[0],
        "type",
        "veth",
        "peer",
        "jaxcnn1",
        "netns",
        HOSTS[1],
    )
    for i, host in enumerate(HOSTS):
        ip("-n", host, "address", "add", f"10.99.0.{i + 1}/24", "dev", f"jaxcnn{i}")
        ip("-n", host, "link", "set", f"jaxcnn{i}", "up")
        ip("-n", host, "link", "set", "lo", "up")
    # Each has a name, which the collectives look up; `ip netns exec` puts the file in /etc's place.
    names = "".join(f"10.99.0.{i + 1} {host}\n" for i, host in enumerate(HOSTS))
    for host in HOSTS:
        folder = Path("/etc/netns", host)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
    named = 'hostname {} && exec "$@"'
    yield [
        ["ip", "netns", "exec", host, "unshare", "--uts", "sh", "-c", named.format(host), "sh"]
        for host in HOSTS
    ]
    for host in HOSTS:
        ip("netns", "delete", host)
        shutil.rmtree(f"/etc/netns/{host}")


def on_two_hosts(two_hosts, tmp_path, *arguments, **environment):
    return train(
        2, 1, tmp_path, "run", *arguments, commands=two_hosts, COORDINATOR=f"10.99.0.1:{free_port()}",
        **environment,
    )  # fmt: skip


def test_two_hosts_train_together_and_one_that_is_cut_off_is_named(two_hosts, tmp_path):
    job = on_two_hosts(two_hosts, tmp_path, "--config.train.duration=100000 steps")
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() or metrics.read_text().count("\n") < 5:
        assert time.monotonic() < deadline, job.output()
        time.sleep(0.1)
    ip("-n", HOSTS[1], "link", "set", "jaxcnn1", "down")
    cut = time.monotonic()
    assert job.wait(100) == [75, 75], job.output()
    assert time.monotonic() - cut < 60
    ((line,), (other,)) = job.errors()
    assert line.startswith("jaxcnn: error: process 1 (")
    assert "is gone" in line
    assert "process 0 (10.99.0.1:" in other
    ip("-n", HOSTS[1], "link", "set", "jaxcnn1", "up")
    job = on_two_hosts(
        two_hosts, tmp_path, "--config.train.duration=100000 steps", FAULT="sigterm save 1"
    )
    assert job.wait(100) == [75, 75], job.output()
    assert "resuming" in job.outputs()[0]


def test_a_workdir_that_one_process_does_not_see_is_refused(tmp_path):
    """The last process has a file system of its own there."""
    (tmp_path / "shared").mkdir()
    own = f'mount -t tmpfs tmpfs {tmp_path / "shared"} && exec "$@"'
    commands = [[], ["unshare", "-rm", "sh", "-c", own, "sh"]]
    job = train(2, 1, tmp_path, "shared/run", commands=commands)
    assert job.wait(120) == [1, 1], job.output()
    lines = job.errors()[0]
    assert len(lines) == 1
    assert f"workdir={tmp_path / 'shared' / 'run'}: process 1 (" in lines[0]
    assert "it must be on a disk that all processes share" in lines[0]
    assert not list((tmp_path / "shared").iterdir())
