"""Leases among real processes: one that is stopped, and many that want the same at once."""

import json
import multiprocessing
import os
import random
import signal
import time

from jaxcnn import leases
from jaxcnn.leases import LeaseLost, Leases
from tests.test_leases import read_lease, wait_for

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["jaxcnn.leases"])  # imported once for all of them


def work(directory):
    """Notes every step of a trial until its lease is lost, and that it was."""
    leases.BEAT, leases.LOOK = 0.1, 0.5
    lease = Leases().take(directory)
    with (directory / "steps").open("a", buffering=1) as steps:
        try:
            while True:
                lease.check()
                steps.write("step\n")
                time.sleep(0.005)
        except LeaseLost:
            (directory / "lost").touch()


def steps_of(directory):
    file = directory / "steps"
    return file.read_text().count("\n") if file.exists() else 0


def test_a_process_that_was_stopped_finds_another_in_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.1)
    monkeypatch.setattr(leases, "EXPIRY", 1.0)
    process = PROCESSES.Process(target=work, args=(tmp_path,))
    process.start()
    wait_for(lambda: steps_of(tmp_path) > 3)
    os.kill(process.pid, signal.SIGSTOP)
    watcher, taken = Leases(), []
    wait_for(lambda: taken.append(watcher.take(tmp_path)) or taken[-1])
    before = steps_of(tmp_path)
    os.kill(process.pid, signal.SIGCONT)
    process.join(60)
    assert process.exitcode == 0
    assert (tmp_path / "lost").exists()
    assert steps_of(tmp_path) - before <= 1  # the one within which it was stopped
    taken[-1].release()
    assert read_lease(tmp_path, 2)["released"]


NEW, LEFT = (
    range(200),
    range(200, 250),
)  # directories that nobody held, and those of a killed process


def hold(folder, ready):
    held = [Leases().take(folder / str(i)) for i in LEFT]
    ready.set()
    time.sleep(60 + len(held))


def take_all(folder, together, number):
    """Takes what it can, at the same time as others; then gives back, and takes what they give.

    A file says that a directory is held, by whom it may be: to create it fails if another's is there.
    """
    mine, chance, held, taken = Leases(), random.Random(number), {}, []

    def take(i):
        if lease := mine.take(folder / str(i)):
            (folder / f"{i}.held").open("x").close()
            held[i] = lease
            taken.append(i)

    together.wait(60)
    for i in (*NEW, *LEFT):
        take(i)
    first = list(held)
    together.wait(60)
    every = len((*NEW, *LEFT))
    for i in (*chance.sample((*NEW, *LEFT), every), *chance.sample((*NEW, *LEFT), every)):
        if i not in held:
            take(i)
        if lease := held.pop(i, None):
            (folder / f"{i}.held").unlink()
            lease.release()
    (folder / f"{number}.json").write_text(json.dumps({"first": first, "taken": taken}))


def test_several_processes_never_hold_one_directory_at_once(tmp_path):
    ready, together = PROCESSES.Event(), PROCESSES.Barrier(4)
    killed = PROCESSES.Process(target=hold, args=(tmp_path, ready))
    killed.start()
    assert ready.wait(60)
    assert Leases().take(tmp_path / str(LEFT[0])) is None
    killed.kill()
    killed.join()
    processes = [
        PROCESSES.Process(target=take_all, args=(tmp_path, together, number)) for number in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    found = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(4)]
    assert sorted(i for each in found for i in each["first"]) == [*NEW, *LEFT]
    taken = [i for each in found for i in each["taken"]] + [*LEFT]
    generations = [len(list((tmp_path / str(i)).glob("lease-*"))) for i in (*NEW, *LEFT)]
    assert [taken.count(i) for i in (*NEW, *LEFT)] == generations  # each had one holder
    assert max(generations) > 3
