"""An interrupted run, resumed, ends with the same bits as an uninterrupted one."""

import json
import shutil

import pytest

from jaxcnn.data.feeding import device as on_device
from jaxcnn.train.experiment import resolve
from jaxcnn.train.saved_run import load_run
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir
from tests.train.runs import (
    assert_same_bits,
    final_state,
    preempted,
    stop_at,
    without_time,
)


@pytest.mark.parametrize(("placement", "stops"), [("host", (1, 7, 23)), ("device", (3,))])
def test_stopped_anywhere_and_resumed_is_bit_for_bit_the_same(
    small_config, blobs, tmp_path, monkeypatch, placement, stops
):
    """Stops by itself in the middle of an epoch, as SIGTERM does, then goes on."""
    small_config.data.placement = placement
    monkeypatch.setattr(on_device, "STEPS_PER_DISPATCH", {"cpu": 4})
    train(small_config, tmp_path / "whole", dataset=blobs)

    for stop_after in stops:
        run = tmp_path / f"stopped after {stop_after}"
        with monkeypatch.context() as patch:
            stop_at(patch, stop_after)
            result = preempted(small_config, run, dataset=blobs)
        assert 0 < result["steps"] < 40
        assert result["final"] is None

        result = train(small_config, run, dataset=blobs)
        assert result["status"] == "completed"
        assert_same_bits(final_state(tmp_path / "whole"), final_state(run))
        whole, stopped = Workdir(tmp_path / "whole"), Workdir(run)
        assert without_time(whole.read_metrics()) == without_time(stopped.read_metrics())
        results = [workdir.read_result() for workdir in (whole, stopped)]
        assert results[0]["best"] == results[1]["best"]
        assert results[0]["final"] == results[1]["final"]


# Each with the step at which it is stopped: in the middle of a plateau's countdown, of an average, …
STATEFUL = {
    "plateau": (
        {
            "schedule.name": "reduce_on_plateau", "schedule.patience": "1", "schedule.factor": "0.5",
            "schedule.threshold": "0.2", "eval.every": "4 steps", "early_stopping.patience": "6",
        },
        22,
    ),
    "ema": ({"averaging.name": "ema", "averaging.decay": "0.9"}, 13),
    "swa": ({"averaging.name": "swa", "averaging.start": "10 steps", "averaging.every": "4 steps"}, 17),
    "lookahead": ({"optimizer.lookahead_period": "5"}, 13),
    "schedule_free": (
        {"optimizer.name": "schedule_free_sgd", "averaging.batch_stats": "reestimated"},
        13,
    ),
    "sam": ({"optimizer.name": "sam", "train.microbatches": "2", "optimizer.clip_norm": "0.5"}, 13),
}  # fmt: skip


@pytest.mark.parametrize("name", STATEFUL)
def test_stopped_and_resumed_with_all_that_has_a_state(
    small_config, blobs, tmp_path, monkeypatch, name
):
    overrides, stop_after = STATEFUL[name]
    config = resolve(small_config, overrides)
    train(config, tmp_path / "whole", dataset=blobs)
    with monkeypatch.context() as patch:
        stop_at(patch, stop_after)
        preempted(config, tmp_path / "stopped", dataset=blobs)
    train(config, tmp_path / "stopped", dataset=blobs)
    assert_same_bits(final_state(tmp_path / "whole"), final_state(tmp_path / "stopped"))
    whole, stopped = (Workdir(tmp_path / name) for name in ("whole", "stopped"))
    lines = [
        [line for line in workdir.read_metrics() if line["split"] == "validation"]
        for workdir in (whole, stopped)
    ]
    assert lines[0] == lines[1]
    results = [workdir.read_result() for workdir in (whole, stopped)]
    for key in ("status", "steps", "best", "final"):
        assert results[0][key] == results[1][key]
    # What was evaluated is what a loaded run evaluates and predicts with.
    again = load_run(tmp_path / "whole", "latest")
    images = blobs.splits["test"].images
    correct = again.predict(images).argmax(axis=1) == blobs.splits["test"].labels
    assert correct.mean() == results[0]["final"]["test"]["accuracy"]
    if name == "plateau":
        scales = [line["learning_rate_scale"] for line in lines[0]]
        assert scales[-1] < 1
        rates = [line for line in whole.read_metrics() if line["split"] == "train"]
        assert rates[-1]["learning_rate"] == pytest.approx(0.05 * scales[-2], rel=1e-6)


def test_lines_after_the_resumed_checkpoint_are_written_once(small_config, blobs, tmp_path):
    """As after a SIGKILL: the log is ahead of the checkpoint, its last line half written."""
    train(small_config, tmp_path / "run", dataset=blobs)
    workdir = Workdir(tmp_path / "run")
    before = workdir.metrics.read_text()
    workdir.result.unlink()
    shutil.rmtree(workdir.latest / "40")
    workdir.metrics.write_text(before + '{"step": 41, "epo')
    train(small_config, tmp_path / "run", dataset=blobs)
    parsed = [json.loads(line) for line in before.splitlines()]
    assert without_time(workdir.read_metrics()) == without_time(parsed)
