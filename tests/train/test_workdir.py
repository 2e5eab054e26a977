import json

import pytest

from jaxcnn.config import default_config
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve
from jaxcnn.train.observers import Start
from jaxcnn.train.observers.files import MetricsFile
from jaxcnn.train.resuming import check_same_run
from jaxcnn.train.workdir import Workdir

pytestmark = pytest.mark.fast


@pytest.fixture
def workdir(tmp_path):
    directory = Workdir(tmp_path / "deep" / "run")
    directory.create(resolve(default_config()), overwrite=False)
    return directory


def test_the_config_comes_back_and_is_its_own(workdir):
    config = resolve(default_config())
    check_same_run(workdir.read_config(), config, workdir)
    assert workdir.read_config().to_dict() == config.to_dict()
    with pytest.raises(UserError, match=r"another config \(config.seed: 0 → 1\)"):
        check_same_run(workdir.read_config(), resolve(default_config(), {"seed": "1"}), workdir)


def test_files_are_whole_or_not_there(workdir, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    workdir.write_result({"status": "completed"})
    monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        workdir.write_result({"status": "diverged"})
    assert workdir.read_result() == {"status": "completed"}
    assert not list(workdir.path.glob("*.partial"))


def test_a_config_json_that_cannot_be_read(workdir):
    workdir.config.write_text("{")
    with pytest.raises(UserError, match=r"config.json cannot be read: Expecting"):
        workdir.read_config()


def start_at(step):
    nothing = dict.fromkeys(Start.__dataclass_fields__)
    return Start(**{**nothing, "step": step})


def test_a_name_with_a_dot_in_config_json_is_named(workdir):
    workdir.config.write_text(workdir.config.read_text().replace('"seed"', '"se.d"', 1))
    with pytest.raises(UserError, match=r"config.json cannot be read: .* se\.d") as error:
        workdir.read_config()
    assert "\n" not in str(error.value)


def test_the_metrics_after_a_resumed_step_are_removed(workdir):
    writer = MetricsFile(workdir)
    writer.on_start(start_at(0))
    for step in (1, 2, 3):
        writer.on_log({"step": step, "epoch": step / 10, "split": "train", "loss": 1.0 / step})
    writer.close()
    again = MetricsFile(workdir)
    again.on_start(start_at(2))
    again.close()
    assert [line["step"] for line in workdir.read_metrics()] == [1, 2]
    assert workdir.read_metrics()[1] == {"step": 2, "epoch": 0.2, "split": "train", "loss": 0.5}


BAD_LINES = [
    b'{"step": 2, "epoch": 0.2, "spl',
    b"\0\0\0\0\0\0\n",
    b'{"step": 2, "split": "tr\xff\xfein"}\n',
    b"[1, 2]\n",
    b'{"step": "2", "split": "train"}\n',
    b'{"split": "train"}\n',
    b"\n",
]


@pytest.mark.parametrize("bad", BAD_LINES)
def test_a_bad_line_is_set_aside_and_the_run_goes_on(workdir, caplog, bad):
    good = [b'{"step": %d, "split": "train", "loss": 1.0}\n' % step for step in (1, 2, 3)]
    lines = [good[0], bad, *good[1:]] if bad.endswith(b"\n") else [*good, bad]
    workdir.metrics.write_bytes(b"".join(lines))
    assert [line["step"] for line in workdir.read_metrics()] == [1, 2, 3]
    assert f"{workdir.metrics}: 1 of 4 lines cannot be read" in caplog.text
    writer = MetricsFile(workdir)
    writer.on_start(start_at(2))
    writer.close()
    assert workdir.metrics.read_bytes() == good[0] + good[1]
    assert workdir.damaged_metrics.read_bytes() == bad
    assert f"{workdir.metrics}: 1 of 4 lines are damaged; moved to metrics.damaged" in caplog.text


def test_lost_metrics_are_missed(workdir, caplog):
    MetricsFile(workdir).on_start(start_at(0))
    assert not caplog.text
    workdir.metrics.unlink()
    MetricsFile(workdir).on_start(start_at(20))
    assert f"{workdir.metrics} is missing: the lines up to step 20 are lost" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b"3", b"\xff\0", b"[" * 100_000])
@pytest.mark.parametrize("name", ["config", "result", "environment"])
def test_a_garbled_file_is_one_line_and_nothing_is_removed(workdir, name, content):
    path = getattr(workdir, name)
    path.write_bytes(content)
    read = getattr(workdir, "read_environments" if name == "environment" else f"read_{name}")
    with pytest.raises(UserError, match=f"^{path} (cannot be read|must hold)") as raised:
        read()
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == content


def test_a_config_of_an_earlier_version_is_completed(small_config, tmp_path):
    """As it was before `data.placement` and `data.statistics` were settings."""
    workdir = Workdir(tmp_path / "run")
    small_config.data.placement = "host"
    config = resolve(small_config)
    workdir.create(config, overwrite=False)
    stored = json.loads(workdir.config.read_text())
    del stored["data"]["placement"], stored["data"]["statistics"]
    workdir.config.write_text(json.dumps(stored))
    assert workdir.read_config().data.placement == "host"
    check_same_run(workdir.read_config(), config, workdir)
