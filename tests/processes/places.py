"""Processes on several hosts, which are network and mount namespaces here: `make test-processes`.

Needs root, as a namespace does.
"""

import subprocess
import time

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
    yield [["ip", "netns", "exec", host] for host in HOSTS]
    for host in HOSTS:
        ip("netns", "delete", host)


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
    job = on_two_hosts(two_hosts, tmp_path, FAULT="sigterm step 1")
    # Another duration is refused: the run of before is still there.
    assert job.wait(60) == [1, 1], job.output()


def test_a_workdir_that_one_process_does_not_see_is_refused(tmp_path):
    """The last process has a file system of its own there."""
    (tmp_path / "shared").mkdir()
    own = f'mount -t tmpfs tmpfs {tmp_path / "shared"} && exec "$@"'
    commands = [[], ["unshare", "-rm", "sh", "-c", own, "sh"]]
    job = train(2, 1, tmp_path, "shared/run", commands=commands)
    start = job.first_end() - 60
    assert job.wait(60) == [1, 1], job.output()
    del start
    (line,) = job.errors()[0]
    assert f"--workdir={tmp_path / 'shared' / 'run'}: process 1 (" in line or "workdir=" in line
    assert "it must be on a disk that all processes share" in line
    assert not list((tmp_path / "shared").iterdir())
