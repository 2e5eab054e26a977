"""Leases: one holder at a time, whatever dies, stands still or is slow."""

import json
import multiprocessing
import os
import signal
import time

import pytest

from jaxcnn.compare import leases
from jaxcnn.compare.leases import EXPIRY, LeaseLost, Leases

ELSEWHERE = {"host": "another machine", "process": 1, "started": 0.0, "released": False}


def beat_of_another_machine(directory, beats, generation=1):
    directory.mkdir(exist_ok=True)
    text = json.dumps({**ELSEWHERE, "beats": beats})
    (directory / f"lease-{generation:06}").write_text(text)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


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
    again.release()


def test_beats_of_another_machine_that_stop(tmp_path):
    clock = Clock()
    watcher = Leases(clock)
    for beats in range(20):  # it lives, however long it takes
        beat_of_another_machine(tmp_path, beats)
        assert watcher.take(tmp_path) is None
        clock.now += EXPIRY - 1
    clock.now += 2
    lease = watcher.take(tmp_path)
    assert lease is not None
    lease.release()
    assert EXPIRY <= 30  # taken over within a minute, with looks a second apart


def test_one_that_has_just_looked_waits(tmp_path):
    clock = Clock()
    clock.now = 1e6
    beat_of_another_machine(tmp_path, 3)
    assert Leases(clock).take(tmp_path) is None


@pytest.mark.parametrize("text", ["", '{"host": "anoth'])
def test_a_lease_that_was_not_written_whole(tmp_path, text):
    clock = Clock()
    watcher = Leases(clock)
    (tmp_path / "lease-000001").write_text(text)
    assert watcher.take(tmp_path) is None
    clock.now += EXPIRY + 1
    lease = watcher.take(tmp_path)
    assert lease is not None
    lease.release()


def hold(directory, ready):
    Leases().take(directory)
    ready.set()
    time.sleep(60)


def test_a_process_of_this_machine_that_was_killed(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path / "trial", ready))
    process.start()
    assert ready.wait(60)
    assert Leases().take(tmp_path / "trial") is None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    lease = Leases().take(tmp_path / "trial")
    assert lease is not None
    lease.release()


def test_a_holder_that_was_taken_over_lets_go(tmp_path):
    lease = Leases().take(tmp_path)
    lease.check()
    newer = json.dumps({**ELSEWHERE, "beats": 0})
    (tmp_path / "lease-000002").write_text(newer)
    lease.check()  # its last beat is recent: the other would not have come
    lease._confirmed -= EXPIRY
    with pytest.raises(LeaseLost):
        lease.check()
    assert not issubclass(LeaseLost, Exception)  # else an observer's failure would be saved
    lease.release()
    assert (tmp_path / "lease-000002").read_text() == newer
    assert not json.loads((tmp_path / "lease-000001").read_text())["released"]


def test_a_lease_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.01)
    lease = Leases().take(tmp_path)
    deadline = time.monotonic() + 20
    while json.loads((tmp_path / "lease-000001").read_text())["beats"] < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lease.release()
    assert json.loads((tmp_path / "lease-000001").read_text())["released"]


def take_all(folder, start, number, rounds):
    """Takes and releases what it can; notes each trial that it held, and that nobody else did."""
    mine = Leases()
    start.wait()
    for _ in range(rounds):
        for i in range(60):
            lease = mine.take(folder / str(i))
            if lease is None:
                continue
            held = folder / f"{i}.held"
            with held.open("x"):  # fails if another holds it at this moment
                pass
            with (folder / f"{number}.log").open("a") as log:
                log.write(f"{i}\n")
            held.unlink()
            lease.release()


def test_several_processes_never_hold_one_trial_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(4)
    processes = [
        context.Process(target=take_all, args=(tmp_path, start, number, 3)) for number in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    taken = [int(i) for n in range(4) for i in (tmp_path / f"{n}.log").read_text().split()]
    generations = [len(list((tmp_path / str(i)).glob("lease-*"))) for i in range(60)]
    assert [taken.count(i) for i in range(60)] == generations  # each generation had one holder
