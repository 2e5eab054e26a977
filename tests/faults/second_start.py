"""The same command started a second time while the first runs: refused, and the first is not disturbed."""

import random
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.command import CONFIG, differences, finish, start

pytestmark = pytest.mark.timeout(3600)
STARTS = 50
# Half the run lasts longer than a start, so that no second start finds the run finished.
LONG = "--config.train.duration=600 steps"


def test_a_second_start_at_any_moment_is_refused(tmp_path):
    (tmp_path / "config.py").write_text(CONFIG)
    began = time.monotonic()
    assert finish(start(tmp_path / "config.py", "host", tmp_path / "whole", LONG)).code == 0
    lasts, chance = time.monotonic() - began, random.Random(0)
    moments = [chance.uniform(0.0, lasts / 2) for _ in range(STARTS)]

    def twice(number):
        run = tmp_path / str(number)
        first = start(tmp_path / "config.py", "host", run, LONG)
        time.sleep(moments[number])
        second = start(tmp_path / "config.py", "host", run, LONG)
        ends = finish(second), finish(first)
        return ends, differences(run, tmp_path / "whole")

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(twice, range(STARTS)))
    for ends, found in outcomes:
        # Of two that start at once, either may be the first.
        assert sorted(end.code for end in ends) == [0, 1], ends
        (line,) = (end.output.strip() for end in ends if end.code == 1)
        assert re.fullmatch("jaxcnn: error: .* is in use by process .*", line), ends
        assert found == []
    slowest = max(end.seconds for ends, _ in outcomes for end in ends if end.code == 1)
    print(f"\n{STARTS} second starts: all refused, within {slowest:.0f} s")
