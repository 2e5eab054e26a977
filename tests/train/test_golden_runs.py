"""What a run computes is what it computed before the code was changed: losses that were kept then.

`warm_up` was recorded later than the others: numbers of a schedule became arguments of the program, and
the factor of a warm-up, which had been float32, took the precision of the run (1.2e-7 of the learning
rate, up to 2.9e-8 of a loss).
"""

import json
import shutil

import pytest

from jaxcnn import config as configs
from jaxcnn.train.inventory import stored_in
from jaxcnn.train.saved_run import load_run
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir
from tests.conftest import ROOT
from tests.golden import runs
from tests.train.runs import without_time

GOLDEN = ROOT / "tests" / "golden"
ADDED_SINCE = {"top5_accuracy"}


def assert_lines(lines, expected, rel):
    assert len(lines) == len(expected)
    for line, kept in zip(lines, expected, strict=True):
        known = {key: value for key, value in line.items() if key not in ADDED_SINCE}
        assert known == {
            key: value if isinstance(value, str) else pytest.approx(value, rel=rel, abs=1e-13)
            for key, value in kept.items()
            if key not in ADDED_SINCE
        }


@pytest.mark.parametrize("name", runs.DEVICES)
def test_runs_give_the_losses_of_before(name, tmp_path):
    """In float64, since some numbers were constants of the program then and are arguments now."""
    expected = json.loads(runs.KEPT.read_text())[name]
    assert_lines(runs.lines_of(name, tmp_path / name), expected, rel=1e-12)


@pytest.fixture
def of_0_1(tmp_path):
    """A workdir of version 0.1.0, stopped at step 33 of 60, in the middle of a plateau's countdown."""
    return Workdir(shutil.copytree(GOLDEN / "workdirs" / "of_0_1", tmp_path / "run"))


def test_a_run_of_an_earlier_version_goes_on(of_0_1, monkeypatch):
    """With all settings that have come since, and with one more that a later version may add."""
    defaults = {**configs.defaults._DEFAULTS, "a_later_setting": 3}
    monkeypatch.setattr(configs.defaults, "_DEFAULTS", defaults)
    result = train(of_0_1.read_config(), of_0_1.path)
    assert (result["status"], result["steps"]) == ("completed", 60)
    assert json.loads(of_0_1.config.read_text())["a_later_setting"] == 3
    expected = (GOLDEN / "workdirs" / "of_0_1_metrics.jsonl").read_text().splitlines()
    expected = [json.loads(line) for line in expected]
    for line in expected:
        line.pop("examples_per_second", None)
    lines = [
        {key: value for key, value in line.items() if key != "examples_per_second"}
        for line in of_0_1.read_metrics()
    ]
    # Stopping wrote a training line of its own step, as it did then.
    assert_lines([line for line in lines if line["step"] > 33], [
        line for line in expected if line["step"] > 33
    ], rel=2e-3)  # fmt: skip
    environments = of_0_1.read_environments()
    assert len(environments) == 2
    assert environments[0]["versions"]["jaxcnn"] == "0.1.0"


def test_a_run_of_this_version_goes_on_in_later_ones(tmp_path):
    """Sealed, and stopped at step 34, between two training lines."""
    run = Workdir(shutil.copytree(GOLDEN / "workdirs" / "of_0_2", tmp_path / "run"))
    assert [one.problem() for one in stored_in(run.path)] == [None, None]
    result = train(run.read_config(), run.path)
    assert (result["status"], result["steps"]) == ("completed", 60)
    expected = (GOLDEN / "workdirs" / "of_0_2_metrics.jsonl").read_text().splitlines()
    expected = [json.loads(line) for line in expected]
    assert_lines(without_time(run.read_metrics()), without_time(expected), rel=2e-3)


def test_a_run_lacks_settings_that_its_choices_have_now(of_0_1):
    """As of an earlier version whose model and optimizer had fewer settings."""
    config = json.loads(of_0_1.config.read_text())
    whole = json.dumps(config, sort_keys=True)
    for section, setting in (
        ("model", "pooling"),
        ("optimizer", "eps_root"),
        ("loss", "label_smoothing"),
    ):
        default = config[section].pop(setting)
        assert default is not None
    config["loss"]["label_smoothing"] = 0.1  # not its default, so a run without it was another
    of_0_1.config.write_text(json.dumps(config))
    result = train(of_0_1.read_config(), of_0_1.path)
    assert (result["status"], result["steps"]) == ("completed", 60)
    added = json.loads(of_0_1.config.read_text())
    assert added["model"]["pooling"] == json.loads(whole)["model"]["pooling"]
    assert added["optimizer"]["eps_root"] == json.loads(whole)["optimizer"]["eps_root"]


def test_a_run_of_an_earlier_version_is_loaded(of_0_1):
    run = load_run(of_0_1.path, "best")
    assert run.step == 20
    assert run.evaluate("validation")["accuracy"] == pytest.approx(
        json.loads((of_0_1.best / "20" / "notes" / "metadata").read_text())["validation"][
            "accuracy"
        ]
    )
