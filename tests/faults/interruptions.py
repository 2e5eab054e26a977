"""Runs that are interrupted at chosen and at random moments, and resumed: the same bits, the same lines.

`make test-faults`: 11 phases × 3 signals on each of six configs, and random moments, twice in a run.
"""

import collections
import itertools
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.command import CONFIG, CONFIGS, PHASES, SIGNALS, differences, finish, start

pytestmark = pytest.mark.timeout(3600)
AT_RANDOM = 6  # runs of each config


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tfds_dir):
    path = tmp_path_factory.mktemp("interruptions")
    (path / "config.py").write_text(CONFIG)
    return path


def interrupted(folder, name, number, fault, signals):
    """What came of a run that is interrupted once or twice, and then resumed."""
    config, run = folder / "config.py", folder / f"{name} {number}"
    first = finish(start(config, name, run, FAULT=fault), signals[0] if signals else ())
    ends = [first, *(finish(start(config, name, run), each) for each in signals[1:])]
    last = finish(start(config, name, run))
    for end in (*ends, last):
        if end.code is None:
            return "past the deadline", end.output
        if "Traceback" in end.output:
            return "traceback", end.output
        if end.code not in (0, 75, -9, -2, -15):
            return f"code {end.code}", end.output
    if last.code != 0:
        return f"resumed: code {last.code}", last.output
    found = differences(run, folder / name)
    return f"differs: {', '.join(found)}" if found else "identical", last.output


@pytest.mark.parametrize("name", CONFIGS)
def test_interrupted_and_resumed_it_is_the_same(folder, name):
    chance, jobs = random.Random(name), []
    began = time.monotonic()
    whole = finish(start(folder / "config.py", name, folder / name))
    assert whole.code == 0, whole.output
    lasts = time.monotonic() - began
    for signal, phase in itertools.product(SIGNALS, PHASES):
        jobs.append((f"{signal} {phase}", f"{signal} {phase}", ()))
    for _ in range(AT_RANDOM):
        moments = [chance.uniform(0.5, 1.2 * lasts) for _ in range(2)]
        signals = [chance.choice([*SIGNALS.values()]) for _ in range(2)]
        second = (moments[1], signals[1]), (moments[1] + 0.01, signals[1])
        twice = [((moments[0], signals[0]),), second]
        jobs.append(("at random", "", twice))
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(
            lambda job: interrupted(folder, name, job[0], job[1][1], job[1][2]), enumerate(jobs)
        )
        outcomes = list(done)
    table = collections.Counter()
    for (what, _, _), (outcome, output) in zip(jobs, outcomes, strict=True):
        table[outcome] += 1
        if outcome != "identical":
            print(f"\n{name}, {what}: {outcome}\n{output}")
    print(f"\n{name}: {dict(table)}")
    assert table.keys() == {"identical"}
