"""What is on disk before a name promises it, read off the system calls of a whole run.

Needs strace. `make test-faults`.
"""

import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.faults.command import CONFIG

pytestmark = pytest.mark.timeout(600)

# 1234 fsync(5</runs/a/metrics.jsonl>) = 0
_CALL = re.compile(r"\d+ +(\w+)\((.*)\) += (-?\d+)")
_STEP = re.compile(r'\\"step\\": (\d+)')  # of a line of metrics.jsonl
_PATHS = re.compile(r'"([^"]*)"|\d+<(/[^>]*)>')
# Orbax's mark for a storage that cannot rename, which is not read on one that can.
_MARK = "/commit_success.txt"
_WRITES = {"write", "pwrite64", "writev", "pwritev", "ftruncate", "copy_file_range", "sendfile"}


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """The successful calls of a run on files of its workdir: (name, paths below it, steps of lines)."""
    path = tmp_path_factory.mktemp("order")
    (path / "config.py").write_text(CONFIG)
    tracer = shutil.which("strace") or pytest.skip("there is no strace")
    names = "write,pwrite64,writev,pwritev,ftruncate,copy_file_range,sendfile,fsync,fdatasync"
    names += ",rename,renameat,renameat2,unlink,unlinkat"
    subprocess.run(
        [
            tracer, "-f", "-y", "-qq", "-s", "4096", "-e", f"trace={names}", "-e", "signal=none",
            "-o", path / "trace", sys.executable, "-m", "jaxcnn", "train", "--quiet",
            f"--config={path / 'config.py'}:host", f"--workdir={path / 'run'}",
        ],
        cwd=ROOT, check=True, capture_output=True, timeout=500,
    )  # fmt: skip
    found = []
    for line in whole_lines((path / "trace").read_text(errors="replace").splitlines()):
        call = _CALL.match(line)
        if call is None or int(call[3]) < 0:
            continue
        inside = f"{path / 'run'}"
        paths = ["".join(each) for each in _PATHS.findall(call[2])]
        paths = [each.removeprefix(inside) for each in paths if each.startswith(inside)]
        if paths:
            found.append((call[1], paths, [*map(int, _STEP.findall(call[2]))]))
    return found


def whole_lines(lines):
    """The lines of the trace; a call that another thread's interrupts ends where it is resumed."""
    begun = {}
    for line in lines:
        thread = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>")
        elif resumed := re.match(r"\d+ +<\.\.\. \w+ resumed>(.*)", line):
            yield begun.pop(thread, f"{thread} ?(") + resumed[1]
        else:
            yield line


def test_no_name_precedes_its_content(calls):
    unsynced, unsynced_lines, promised, owed = set(), set(), [], set()
    for name, paths, steps in calls:
        path = paths[-1]
        if name in _WRITES:
            unsynced_lines |= {*steps} if path == "/metrics.jsonl" else set()
            unsynced |= {path} if not path.endswith(_MARK) else set()
        elif name in ("fsync", "fdatasync"):
            unsynced.discard(path)
            unsynced_lines = set() if path == "/metrics.jsonl" else unsynced_lines
            owed -= {each for each in owed if each.rpartition("/")[0] == path}
        elif name.startswith("unlink"):
            unsynced.discard(path)
        elif name.startswith("rename"):
            before, after = paths
            moved = {each for each in unsynced if f"{each}/".startswith(f"{before}/")}
            is_checkpoint = re.fullmatch(r"/checkpoints/(latest|best)/(\d+)", after)
            if is_checkpoint or "/" not in after[1:]:  # the run's own files
                assert not moved, f"{after} is a name of what is not on disk: {moved}"
                promised.append(after)
                owed.add(after)
            if is_checkpoint and is_checkpoint[1] == "latest":  # it relies on the lines before it
                assert all(step > int(is_checkpoint[2]) for step in unsynced_lines)
            unsynced = (unsynced - moved) | {after + each.removeprefix(before) for each in moved}
    assert not owed, "their directory is not on disk"
    of_latest = [name for name in promised if name.startswith("/checkpoints/latest/")]
    assert of_latest == [f"/checkpoints/latest/{step}" for step in range(10, 61, 10)]
    lines = {step for _, paths, steps in calls for step in steps if paths == ["/metrics.jsonl"]}
    assert lines == {*range(5, 61, 5)}
    assert {"/config.json", "/environment.json", "/result.json"} <= {*promised}
    assert any(name.startswith("/checkpoints/best/") for name in promised)
