"""What may change about a run that is resumed, and what may not."""

import json

import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve
from jaxcnn.train.saved_run import load_run
from jaxcnn.train.seal import seal
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir
from tests.train.runs import Death, assert_same_bits, final_state, preempted, stop_at


def stopped_at_7(config, workdir, monkeypatch, **data):
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        preempted(config, workdir, **data)


def test_settings_that_change_nothing_computed_may_change_and_are_said(
    small_config, blobs, tmp_path, monkeypatch, caplog
):
    train(small_config, tmp_path / "whole", dataset=blobs)
    run = Workdir(tmp_path / "run")
    stopped_at_7(small_config, run.path, monkeypatch, dataset=blobs)
    small_config.log.every = "2 steps"
    small_config.checkpoint.every = "3 steps"
    with caplog.at_level("INFO", "jaxcnn"):
        train(small_config, run.path, dataset=blobs)
    assert "resuming with another setting: config.log.every: '5 steps' → '2 steps'" in caplog.text
    assert_same_bits(final_state(tmp_path / "whole"), final_state(run.path))
    assert json.loads(run.config.read_text())["log"]["every"] == "2 steps"
    assert len(run.read_environments()) == 2
    small_config.seed = 1
    with pytest.raises(UserError, match=r"another config \(config.seed: 0 → 1\); use another"):
        train(small_config, run.path, dataset=blobs)


def test_data_that_moved_is_still_the_data(small_config, rng, tmp_path, monkeypatch):
    images = rng.integers(0, 256, (120, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=np.arange(120) % 3)
    overrides = {"data.source": "npz", "data.path": str(tmp_path / "a.npz")}
    config = resolve(small_config, overrides)
    stopped_at_7(config, tmp_path / "run", monkeypatch)
    (tmp_path / "a.npz").rename(tmp_path / "b.npz")
    config.data.path = str(tmp_path / "b.npz")
    assert train(config, tmp_path / "run")["status"] == "completed"
    np.savez(tmp_path / "b.npz", train_images=images[::-1], train_labels=np.arange(120) % 3)
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(UserError, match="holds a run on other data"):
        train(config, tmp_path / "run")


LONGER = {"train.duration": "60 steps"}


@pytest.mark.parametrize(
    "schedule",
    [
        {"schedule.name": "constant"},
        {"schedule.name": "step", "schedule.every": "15 steps"},
        {"schedule.name": "reduce_on_plateau", "schedule.patience": "1"},
    ],
)
def test_a_finished_run_grows_where_its_schedule_allows_it(small_config, blobs, tmp_path, schedule):
    short = resolve(small_config, schedule)
    train(resolve(small_config, schedule | LONGER), tmp_path / "whole", dataset=blobs)
    assert train(short, tmp_path / "run", dataset=blobs)["steps"] == 40
    result = train(resolve(small_config, schedule | LONGER), tmp_path / "run", dataset=blobs)
    assert (result["status"], result["steps"]) == ("completed", 60)
    assert_same_bits(final_state(tmp_path / "whole"), final_state(tmp_path / "run"))


def test_a_grown_run_that_dies_has_not_ended(small_config, blobs, tmp_path):
    longer = resolve(small_config, {"schedule.name": "constant"} | LONGER)
    train(longer, tmp_path / "whole", dataset=blobs)
    train(resolve(small_config, {"schedule.name": "constant"}), tmp_path / "run", dataset=blobs)
    with pytest.raises(KeyError):
        train(longer, tmp_path / "run", dataset=blobs, observers=[Death(50)])
    assert Workdir(tmp_path / "run").read_result() is None
    assert train(longer, tmp_path / "run", dataset=blobs)["steps"] == 60
    assert_same_bits(final_state(tmp_path / "run"), final_state(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("settings", "changed", "message"),
    [
        ({}, LONGER, "schedule 'cosine' would have differed from the start; keep the duration"),
        ({"schedule.name": "step"}, LONGER, "schedule 'step' would have differed from the start"),
        ({"schedule.name": "constant"}, {"train.duration": "30 steps"}, "can only be increased"),
        (
            {"schedule.name": "constant", "eval.every": "25%"},
            LONGER,
            "config.eval.every='25%' means different steps in a longer run",
        ),
        (
            {"schedule.name": "constant", "averaging.name": "swa", "averaging.start": "50%"},
            LONGER,
            "averaging 'swa' would have differed",
        ),
    ],
)
def test_what_depends_on_the_length_does_not_grow(
    small_config, blobs, tmp_path, monkeypatch, settings, changed, message
):
    config = resolve(small_config, settings)
    stopped_at_7(config, tmp_path / "run", monkeypatch, dataset=blobs)
    before = Workdir(tmp_path / "run").config.read_text()
    with pytest.raises(UserError) as error:
        train(resolve(small_config, settings | changed), tmp_path / "run", dataset=blobs)
    assert message in str(error.value)
    assert Workdir(tmp_path / "run").config.read_text() == before


def test_a_finished_run_whose_data_moved_knows_where_it_is_now(small_config, rng, tmp_path, caplog):
    images = rng.integers(0, 256, (100, 12, 12, 1)).astype(np.uint8)
    labels = np.arange(100) % 3
    np.savez(tmp_path / "here.npz", train_images=images, train_labels=labels)
    np.savez(tmp_path / "other.npz", train_images=255 - images, train_labels=labels)
    config = small_config
    config.data.update({"source": "npz", "path": str(tmp_path / "here.npz")})
    config.train.duration, config.schedule.warmup = "10 steps", "0 steps"
    run = Workdir(tmp_path / "run")
    result = train(config, run.path)
    config.data.path = str(tmp_path / "other.npz")
    with pytest.raises(UserError, match="holds a run on other data"):
        train(config, run.path)
    config.data.path = str(tmp_path / "nowhere.npz")
    with pytest.raises(UserError, match="nowhere.npz"):
        train(config, run.path)
    assert json.loads(run.config.read_text())["data"]["path"] == str(tmp_path / "here.npz")
    (tmp_path / "here.npz").rename(tmp_path / "there.npz")
    config.data.path = str(tmp_path / "there.npz")
    assert train(config, run.path) == result
    assert load_run(run.path).evaluate("validation")["count"] == 9
    config.log.every = "7 steps"
    assert train(config, run.path) == result
    assert "is finished: config.log.every: '5 steps' → '7 steps' has no effect" in caplog.text


@pytest.mark.parametrize("mode", ["sync", "per_replica"])
def test_statistics_of_each_device_need_the_same_number_of_devices(
    small_config, blobs, tmp_path, monkeypatch, mode
):
    """As if the run had begun on eight: its checkpoint says so."""
    small_config.model.batch_norm_mode = mode
    stopped_at_7(small_config, tmp_path, monkeypatch, dataset=blobs)
    (notes,) = Workdir(tmp_path).latest.glob("*/notes/metadata")
    said = json.loads(notes.read_text())
    assert said["replicas"] == 1
    notes.write_text(json.dumps({**said, "replicas": 8}))
    seal(notes.parent.parent)
    if mode == "sync":
        assert train(small_config, tmp_path, dataset=blobs)["status"] == "completed"
        return
    with pytest.raises(UserError) as error:
        train(small_config, tmp_path, dataset=blobs)
    assert str(error.value) == (
        f"config.model.batch_norm_mode='per_replica': the run in workdir={tmp_path} takes its statistics "
        "on each of 8 devices, and here the number is 1; resume it on 8"
    )
