"""The same command started a second time while the first runs: refused, and the first is not disturbed."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.command import CONFIG, differences, finish, start

pytestmark = pytest.mark.timeout(3600)
STARTS = 50


def test_a_second_start_at_any_moment_is_refused(tmp_path):
    (tmp_path / "config.py").write_text(CONFIG)
    began = time.monotonic()
    assert finish(start(tmp_path / "config.py", "host", tmp_path / "whole")).code == 0
    lasts, chance = time.monotonic() - began, random.Random(0)
    moments = [chance.uniform(0.0, lasts) for _ in range(STARTS)]

    def twice(number):
        run = tmp_path / str(number)
        first = start(tmp_path / "config.py", "host", run)
        time.sleep(moments[number])
        second = start(tmp_path / "config.py", "host", run)
        ends = finish(first), finish(second)
        return (
            [end.code for end in ends],
            [end.output for end in ends],
            differences(run, tmp_path / "whole"),
        )

    with ThreadPoolExecutor(1 if (os.cpu_count() or 1) < 4 else 2) as pool:
        outcomes = list(pool.map(twice, range(STARTS)))
    refused = 0
    for codes, outputs, found in outcomes:
        assert found == [], outputs
        # The one that comes too late finds the finished run; of two at once, either is the first.
        assert sorted(codes) in ([0, 1], [0, 0]), outputs
        if 1 in codes:
            refused += 1
            line = outputs[codes.index(1)].strip().splitlines()[-1]
            assert "is in use by process" in line, outputs
        else:
            assert any("nothing to do" in output or not output.strip() for output in outputs), (
                outputs
            )
    print(f"\n{STARTS} second starts: {refused} refused, {STARTS - refused} found the finished run")
