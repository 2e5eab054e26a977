"""Leases: one holder at a time, whatever dies, stands still or is slow."""

import errno
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from jaxcnn import leases
from jaxcnn.leases import EXPIRY, LeaseLost, Leases

ELSEWHERE = {"host": "another machine", "process": 1, "started": 0.0, "released": False}

fast = pytest.mark.fast
on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it is about /proc")


def write_lease(directory, generation=1, **changes):
    directory.mkdir(exist_ok=True)
    text = json.dumps({**ELSEWHERE, "beats": 0, **changes})
    (directory / f"lease-{generation:06}").write_text(text)


def read_lease(directory, generation=1):
    return json.loads((directory / f"lease-{generation:06}").read_text())


def of_process(process):
    """What a lease of a process of this machine says."""
    return {"host": leases._host(), "process": process, "started": leases._started(process)}


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def watched(watcher, clock, directory, seconds):
    """What a watcher takes that looks once a second."""
    for _ in range(seconds):
        if lease := watcher.take(directory):
            return lease
        clock.now += 1
    return None


@fast
def test_one_holder_at_a_time(tmp_path):
    first, second = Leases(), Leases()
    lease = first.take(tmp_path / "trial")
    assert second.take(tmp_path / "trial") is None
    assert first.take(tmp_path / "trial") is None
    lease.release()
    again = second.take(tmp_path / "trial")
    assert sorted(file.name for file in (tmp_path / "trial").iterdir()) == [
        "lease-000001", "lease-000002",
    ]  # fmt: skip
    assert first.take(tmp_path / "trial") is None
    again.release()


@fast
def test_one_that_saw_it_free_before_another_took_it(tmp_path, monkeypatch):
    """Even if the other has released it since: the late one was looking at an old generation."""
    Leases().take(tmp_path).release()
    late, original = Leases(), Leases._is_free

    def is_free(watcher, file):
        free = original(watcher, file)
        monkeypatch.undo()
        Leases().take(tmp_path).release()
        return free

    monkeypatch.setattr(Leases, "_is_free", is_free)
    assert late.take(tmp_path) is None
    late.take(tmp_path).release()


@fast
def test_beats_of_another_machine_that_stop(tmp_path):
    clock = Clock()
    watcher = Leases(clock)
    for beats in range(20):  # it lives, however long it takes
        write_lease(tmp_path, beats=beats)
        assert watched(watcher, clock, tmp_path, int(EXPIRY)) is None
    lease = watched(watcher, clock, tmp_path, 3)
    assert lease is not None
    lease.release()
    assert EXPIRY <= 30  # taken over within a minute, with looks a second apart


@fast
def test_only_the_time_in_which_it_watched_counts(tmp_path):
    """A machine that was suspended, or a group of stopped processes, wakes in any order."""
    clock = Clock()
    clock.now = 1e6
    watcher = Leases(clock)
    write_lease(tmp_path)
    assert watcher.take(tmp_path) is None
    clock.now += 1e5
    assert watcher.take(tmp_path) is None
    write_lease(tmp_path, beats=1)
    assert watched(watcher, clock, tmp_path, int(EXPIRY)) is None
    watched(watcher, clock, tmp_path, 3).release()


@fast
@pytest.mark.parametrize("content", [b"", b'{"host": "anoth', b"\0\0\0\0", b"\xff\xfe"])
def test_a_lease_that_was_not_written_whole(tmp_path, content):
    clock = Clock()
    watcher = Leases(clock)
    (tmp_path / "lease-000001").write_bytes(content)
    assert watched(watcher, clock, tmp_path, int(EXPIRY)) is None
    watched(watcher, clock, tmp_path, 3).release()


@fast
def test_a_lease_that_cannot_be_read_at_this_moment(tmp_path, monkeypatch):
    def read_bytes(path):
        raise OSError(errno.ESTALE, "Stale file handle")

    write_lease(tmp_path, released=True)
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert Leases().take(tmp_path) is None
    monkeypatch.undo()
    Leases().take(tmp_path).release()


@fast
def test_half_a_beat_of_a_killed_worker_is_no_lease(tmp_path):
    (tmp_path / "lease-000001.4711.partial").write_text("{")
    Leases().take(tmp_path).release()
    assert read_lease(tmp_path)["released"]


@fast
@on_linux
@pytest.mark.parametrize("reaped", [True, False])
def test_a_process_of_this_machine_that_was_killed(tmp_path, reaped):
    """Its trial is free at once, also while its parent has not asked for its exit code."""
    process = subprocess.Popen(["sleep", "60"])
    write_lease(tmp_path, **of_process(process.pid))
    assert Leases().take(tmp_path) is None
    process.send_signal(signal.SIGKILL)
    if reaped:
        process.wait()
    else:
        wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    Leases().take(tmp_path).release()
    process.wait()


@fast
@on_linux
def test_a_later_process_of_the_same_number(tmp_path):
    mine = of_process(os.getpid())
    write_lease(tmp_path / "a", **mine)
    assert Leases().take(tmp_path / "a") is None
    write_lease(tmp_path / "b", **{**mine, "started": mine["started"] - 1})
    Leases().take(tmp_path / "b").release()


@fast
@on_linux
def test_a_clock_that_is_set_does_not_make_a_living_process_a_dead_one(tmp_path, monkeypatch):
    """psutil reckons when a process started from the time of day at the boot."""
    lease = Leases().take(tmp_path)
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: 1e9)
    assert Leases().take(tmp_path) is None
    lease.release()


@fast
@on_linux
def test_process_numbers_of_another_machine_of_the_same_name_say_nothing(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    elsewhere = leases._host().replace(boot, "another boot")
    write_lease(tmp_path / "a", host=elsewhere, process=ended.pid)
    assert Leases().take(tmp_path / "a") is None
    write_lease(tmp_path / "b", host=leases._host(), process=ended.pid)
    Leases().take(tmp_path / "b").release()


@fast
@on_linux
def test_another_users_process_that_is_hidden_from_this_one(tmp_path, monkeypatch):
    def kill(process, number):
        raise PermissionError

    write_lease(tmp_path, host=leases._host(), process=2**22 + 1)
    monkeypatch.setattr(os, "kill", kill)
    assert Leases().take(tmp_path) is None
    monkeypatch.undo()
    Leases().take(tmp_path).release()


@fast
def test_a_holder_that_was_taken_over_lets_go(tmp_path):
    lease = Leases().take(tmp_path)
    lease.check()
    write_lease(tmp_path, generation=2)
    lease.check()  # it looks once a second
    lease._confirmed -= leases.LOOK
    for _ in range(2):
        with pytest.raises(LeaseLost):
            lease.check()
    assert not issubclass(LeaseLost, Exception)  # else an observer's failure would be saved
    lease.release()
    assert read_lease(tmp_path, 2) == {**ELSEWHERE, "beats": 0}
    assert not read_lease(tmp_path)["released"]


@fast
def test_a_lease_beats_until_it_is_released(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.01)
    lease = Leases().take(tmp_path)
    wait_for(lambda: read_lease(tmp_path)["beats"] >= 3)
    lease.release()
    released = read_lease(tmp_path)
    assert released["released"]
    time.sleep(0.05)
    assert read_lease(tmp_path) == released


@fast
def test_a_full_disk_is_no_reason_to_stop(tmp_path, monkeypatch):
    tried = []

    def write_text(path, text):
        tried.append(text)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(leases, "BEAT", 0.01)
    monkeypatch.setattr(leases, "write_text", write_text)
    lease = Leases().take(tmp_path)
    wait_for(lambda: len(tried) >= 3)
    lease.check()
    lease.release()
    assert not read_lease(tmp_path)["released"]  # it expires


@fast
@pytest.mark.parametrize("within", ["write_text", "_content"])
def test_stopped_within_a_beat_or_while_taking(tmp_path, monkeypatch, within):
    """It goes on to write its beat, or its first content; that is no look for a newer lease."""
    original, stopped = getattr(leases, within), []

    def long(*arguments, **named):
        if not stopped:
            time.sleep(0.3)
            write_lease(tmp_path, generation=2)
            stopped.append(True)
        return original(*arguments, **named)

    monkeypatch.setattr(leases, "BEAT", 0.01)
    monkeypatch.setattr(leases, "LOOK", 0.2)
    monkeypatch.setattr(leases, within, long)
    lease = Leases().take(tmp_path)
    wait_for(lambda: stopped)
    with pytest.raises(LeaseLost):
        lease.check()
    lease.release()
