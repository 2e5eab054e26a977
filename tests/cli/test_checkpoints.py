import shutil

import pytest

from jaxcnn.train.start import train
from tests.conftest import ROOT


@pytest.fixture
def run(small_config, blobs, tmp_path):
    small_config.checkpoint.every = "10 steps"
    train(small_config, tmp_path / "run", dataset=blobs)
    return tmp_path / "run"


def rows(output):
    return [line.split() for line in output.splitlines()[1:]]


def test_the_checkpoints_of_a_run(run_cli, run):
    code, out, _ = run_cli("checkpoint", "list", str(run))
    assert code == 0
    found = [(kind, int(step)) for kind, step, *_ in rows(out)]
    assert found[:2] == [("latest", 30), ("latest", 40)]
    assert found[2][0] == "best"
    assert len(found) == 3


def test_whole_ones_and_damaged_ones(run_cli, run):
    code, out, _ = run_cli("checkpoint", "verify", str(run))
    assert code == 0
    assert [row[-1] for row in rows(out)] == ["whole"] * 3
    damaged = run / "checkpoints" / "latest" / "40"
    with (damaged / "state" / "manifest.ocdbt").open("ab") as file:
        file.write(b"x")
    shutil.copytree(damaged, damaged.with_name("20.damaged"))
    code, out, err = run_cli("checkpoint", "verify", str(run))
    assert code == 1
    said = [" ".join(row[6:]) for row in rows(out)]
    assert said == [
        "set aside as damaged", "whole", "state/manifest.ocdbt has changed", "whole"
    ]  # fmt: skip
    assert err == (
        f"jaxcnn: error: 1 of 4 checkpoints damaged: {damaged}; a resumed run uses the one before\n"
    )


def test_those_of_version_0_1_are_not_sealed(run_cli):
    code, out, _ = run_cli(
        "checkpoint", "verify", str(ROOT / "tests" / "golden" / "workdirs" / "of_0_1")
    )
    assert code == 0
    assert out.count("not sealed: version 0.1.0 wrote it") == 2


def test_mistakes(run_cli, tmp_path):
    code, _, err = run_cli("checkpoint", "list", str(tmp_path))
    assert (code, err) == (
        1, f"jaxcnn: error: workdir={tmp_path} holds no run (there is no config.json in it)\n"
    )  # fmt: skip
    code, _, err = run_cli("checkpoint", "check", str(tmp_path))
    assert code == 1
    assert "invalid choice: 'check' (choose from 'list', 'verify')" in err
