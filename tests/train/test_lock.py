"""One process at a time trains in a workdir."""

import json
import os
import signal
import time

import pytest

from jaxcnn import UserError, leases, train
from jaxcnn.train.workdir import Workdir
from tests.conftest import DIGITS, QUICK, start_jaxcnn

LONG = (
    "--config.train.duration=1000000 steps", "--config.log.every=50 steps",
    "--config.eval.every=1000000 steps", "--config.checkpoint.every=100 steps",
)  # fmt: skip


def wait_for_lines(workdir, count=3):
    deadline = time.monotonic() + 120
    while len(Workdir(workdir).read_metrics()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_second_start_is_refused_and_a_dead_one_is_taken_over(tmp_path, error_of, run_cli):
    command = ("train", f"--config={DIGITS}", f"--workdir={tmp_path}", *QUICK, *LONG)
    first = start_jaxcnn(*command)
    wait_for_lines(tmp_path)
    before = (tmp_path / "environment.json").read_text()
    for again in (command, (*command, "--overwrite")):
        said = error_of(*again)
        assert said.startswith(f"--workdir={tmp_path} is in use by process {first.pid} on "), said
        assert "; wait until that ends" in said
    assert (tmp_path / "environment.json").read_text() == before
    assert first.poll() is None
    first.send_signal(signal.SIGKILL)
    first.wait()
    lines = Workdir(tmp_path).read_metrics()
    assert [line["step"] for line in lines] == list(range(50, 50 * len(lines) + 1, 50))
    # The same command goes on, and says whose run it was.
    again = start_jaxcnn(*command)
    wait_for_lines(tmp_path, len(lines) + 3)
    again.send_signal(signal.SIGTERM)
    output, _ = again.communicate()
    assert again.returncode == 75
    assert f"{tmp_path} was held by process {first.pid} on " in output


def test_a_run_that_was_taken_over_stops_and_writes_no_more(tmp_path, small_config, blobs):
    """Here the run itself plays the process that takes over."""

    class TakesOver:
        def on_validation(self, line):
            (tmp_path / "lease-000002").write_text(json.dumps({"host": "elsewhere"}))
            time.sleep(1.1 * leases.LOOK)

    with pytest.raises(UserError, match="another process has taken it over"):
        train(small_config, tmp_path, blobs, observers=[TakesOver()])
    assert not (tmp_path / "result.json").exists()


def test_a_holder_elsewhere_is_given_time_to_show_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "EXPIRY", 2.0)
    elsewhere = {"host": "node7 boot ns", "process": 12, "since": "yesterday", "beats": 1}
    lease = tmp_path / "lease-000001"
    lease.write_text(json.dumps(elsewhere))
    begin = time.monotonic()
    with leases.held(tmp_path):
        assert time.monotonic() - begin > 2.0
        assert json.loads((tmp_path / "lease-000002").read_text())["process"] == os.getpid()
    lease = tmp_path / "lease-000003"
    lease.write_text(json.dumps(elsewhere))

    def beats(seconds):
        lease.write_text(json.dumps({**elsewhere, "beats": 2}))

    monkeypatch.setattr(leases.time, "sleep", beats)
    with pytest.raises(UserError, match=r"in use by process 12 on node7 \(since yesterday\)"):
        leases.held(tmp_path).__enter__()
