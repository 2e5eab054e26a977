"""A storage that refuses at each stage of a save: one line, no hang, and the checkpoints before are whole.

Needs a C compiler: storage.c is preloaded into the process. `make test-faults`.
"""

import errno
import itertools

import pytest

from tests.faults.command import CONFIG, compiled, differences, finish, start

pytestmark = pytest.mark.timeout(3600)

# The call that fails, the part of the path and how many such calls succeed.
STAGES = {
    "start": ("mkdir", "/latest/", 2),
    "data": ("write", "/latest/", 25),
    "data renamed": ("rename", "ocdbt.process", 4),
    "sync": ("fsync", "/latest/", 30),
    "commit": ("rename", "latest/20.orbax", 0),
    "commit of the best": ("rename", "best/15.orbax", 0),
    "clean-up": ("unlink", "manifest.ocdbt", 0),
    "metrics": ("write", "metrics.jsonl", 4),
    "log": ("write", "log.txt", 6),
    "result": ("open", "result.json", 0),
}
ERRORS = ("ENOSPC", "EROFS", "EIO", "ESTALE")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("saves")
    (path / "config.py").write_text(CONFIG)
    compiled("storage", path)
    assert finish(start(path / "config.py", "host", path / "whole")).code == 0
    return path


@pytest.mark.parametrize(("stage", "error"), itertools.product(STAGES, ERRORS))
def test_a_refused_save_is_one_line_and_the_run_goes_on_later(folder, stage, error):
    call, part, after = STAGES[stage]
    run = folder / f"{stage} {error}"
    end = finish(
        start(
            folder / "config.py", "host", run, LD_PRELOAD=str(folder / "storage.so"),
            FAULT_CALL=call, FAULT_AT=part, FAULT_AFTER=str(after),
            FAULT_ERRNO=str(getattr(errno, error)),
        )
    )  # fmt: skip
    said = [line for line in end.output.splitlines() if line.startswith("jaxcnn: error:")]
    print(f"\n{stage}, {error}: code {end.code}, {end.seconds:.0f} s, {said}")
    assert end.code in (0, 1), end.output
    assert "Traceback" not in end.output, end.output
    assert len(said) == end.code, end.output
    again = finish(start(folder / "config.py", "host", run))
    assert again.code == 0, again.output
    assert differences(run, folder / "whole") == []
