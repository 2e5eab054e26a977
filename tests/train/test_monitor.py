"""`config.monitor`: it says what the next step does to each layer, and changes nothing."""

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve
from jaxcnn.train.saved_run import load_state
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir
from tests.train.runs import assert_same_bits, final_state, preempted, stop_at, without_time


class StopAt:
    def __init__(self, step):
        self.step = step

    def on_validation(self, line):
        return line["step"] == self.step


def monitored(config, every, **settings):
    config = config.copy_and_resolve_references()
    config.monitor.update({"every": every, **settings})
    return config


def of_split(workdir, split):
    return {x["step"]: x for x in Workdir(workdir).read_metrics() if x["split"] == split}


def params_of(workdir):
    return flatten_dict(load_state(workdir).params, sep="/")


@pytest.mark.parametrize("placement", ["host", "device"])
def test_the_numbers_are_those_of_the_next_step(small_config, blobs, tmp_path, placement):
    """Beside the weights before and after that step, and the gradient norm that its line gives."""
    small_config.data.placement = placement
    small_config.data.mix = [{"name": "mixup"}]
    small_config.log.every = "1 step"
    config = monitored(small_config, "20 steps")
    train(config, tmp_path / "run", dataset=blobs, observers=[StopAt(20)])
    before = {path: np.array(leaf) for path, leaf in params_of(tmp_path / "run").items()}
    config.eval.every = "21 steps"
    config.monitor.every = "40 steps"
    shorter = config.copy_and_resolve_references()
    train(shorter, tmp_path / "other", dataset=blobs, observers=[StopAt(21)])
    after = params_of(tmp_path / "other")

    line = of_split(tmp_path / "run", "monitor")[20]
    for path, leaf in before.items():
        update = after[path] - leaf
        assert line[f"weight_norm/{path}"] == pytest.approx(np.linalg.norm(leaf), rel=1e-5)
        assert line[f"update_norm/{path}"] == pytest.approx(np.linalg.norm(update), rel=1e-4)
        if np.linalg.norm(leaf):
            ratio = np.linalg.norm(update) / np.linalg.norm(leaf)
            assert line[f"update_ratio/{path}"] == pytest.approx(ratio, rel=1e-4)
    gradient = np.sqrt(sum(line[f"gradient_norm/{path}"] ** 2 for path in before))
    assert gradient == pytest.approx(
        of_split(tmp_path / "other", "train")[21]["grad_norm"], rel=1e-4
    )
    assert {key for key in line if key.startswith("dead/")}
    assert all(0 <= share <= 1 for key, share in line.items() if key.startswith("dead/"))


def test_a_monitored_run_is_the_same_run(small_config, blobs, tmp_path):
    train(small_config, tmp_path / "plain", dataset=blobs)
    watched = monitored(small_config, "10 steps", histograms=True)
    train(watched, tmp_path / "watched", dataset=blobs)
    assert_same_bits(final_state(tmp_path / "plain"), final_state(tmp_path / "watched"))
    assert set(of_split(tmp_path / "watched", "monitor")) == {10, 20, 30, 40}
    assert not of_split(tmp_path / "plain", "monitor")
    for split in ("train", "validation"):
        lines = [of_split(tmp_path / name, split).values() for name in ("plain", "watched")]
        assert without_time(lines[0]) == without_time(lines[1])


def test_a_resumed_run_has_the_same_lines(small_config, blobs, tmp_path, monkeypatch):
    config = monitored(small_config, "7 steps")
    train(config, tmp_path / "whole", dataset=blobs)
    with monkeypatch.context() as patch:
        stop_at(patch, 12)
        preempted(config, tmp_path / "cut", dataset=blobs)
    train(config, tmp_path / "cut", dataset=blobs)
    lines = [Workdir(tmp_path / name).read_metrics() for name in ("whole", "cut")]
    watched = [[line for line in each if line["split"] == "monitor"] for each in lines]
    assert watched[0] == watched[1]
    assert [line["step"] for line in watched[0]] == [7, 14, 21, 28, 35, 40]


def test_histograms_that_are_never_made_are_refused(small_config, blobs, tmp_path):
    small_config.monitor.histograms = True
    with pytest.raises(UserError, match="^config.monitor.histograms=True has no effect without"):
        train(small_config, tmp_path / "run", dataset=blobs)
    assert not (tmp_path / "run").exists()


def test_histograms_in_tensorboard(small_config, blobs, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(monitored(small_config, "20 steps", histograms=True), tmp_path / "run", dataset=blobs)
    events = EventAccumulator(
        str(tmp_path / "run" / "tensorboard"), size_guidance={"histograms": 0}
    )
    events.Reload()
    params = params_of(tmp_path / "run")
    kinds = ("gradient", "weight", "update")
    names = {f"monitor/{kind}/{path}" for kind in kinds for path in params}
    assert set(events.Tags()["histograms"]) == names
    for path, leaf in params.items():
        (_, last) = events.Histograms(f"monitor/weight/{path}")
        histogram, leaf = last.histogram_value, np.asarray(leaf, np.float64)
        assert last.step == 40
        assert sum(histogram.bucket) == histogram.num == leaf.size
        assert histogram.min == pytest.approx(leaf.min())
        assert histogram.max == pytest.approx(leaf.max())
        assert histogram.sum_squares == pytest.approx((leaf**2).sum(), rel=1e-4)
    assert f"monitor/update_ratio/{path}" in events.Tags()["scalars"]


def test_what_is_not_finite_is_left_out(small_config, blobs, tmp_path):
    """A weight of norm 0 has no ratio."""
    small_config.train.duration = "1 step"
    small_config.schedule.warmup = "0 steps"
    small_config.parameters.frozen = ["bias$"]
    train(monitored(small_config, "1 step"), tmp_path / "run", dataset=blobs)
    line = of_split(tmp_path / "run", "monitor")[1]
    zero = [path for path, leaf in params_of(tmp_path / "run").items() if not np.any(leaf)]
    assert zero
    assert not {f"update_ratio/{path}" for path in zero} & set(line)
    assert {f"update_norm/{path}" for path in zero} <= set(line)


def test_a_period_that_is_none(small_config):
    with pytest.raises(UserError, match=r"^config.monitor.every='often' is not a duration"):
        resolve(monitored(small_config, "often"))
