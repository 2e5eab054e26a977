"""Ensembles: mean probabilities of runs and of a run's snapshots."""

import json

import numpy as np
import pytest

from jaxcnn import load_config
from jaxcnn.data.dataset import load_dataset
from jaxcnn.errors import UserError
from jaxcnn.train.ensemble import evaluate_ensemble, load_snapshots, probabilities_of
from jaxcnn.train.inventory import stored_in
from jaxcnn.train.saved_run import load_run, load_state
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir
from tests.train.runs import assert_same_bits, final_state, preempted, stop_at

CYCLES = {
    "model.name": "linear",
    "data.augment": "[]",
    "data.placement": "device",
    "schedule.name": "cosine_restarts",
    "schedule.warmup": "0 steps",
    "schedule.first": "10 steps",
    "train.duration": "40 steps",
    "eval.every": "40 steps",
    "checkpoint.every": "40 steps",
}


def digits(**settings):
    overrides = {**CYCLES, **settings}
    return load_config("digits_lenet", {key: str(value) for key, value in overrides.items()})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs, of which the first keeps three snapshots."""
    folder = tmp_path_factory.mktemp("runs")
    train(digits(**{"checkpoint.snapshots": 3}), folder / "a")
    train(digits(seed=1), folder / "b")
    return folder


def kept(workdir):
    return [one.step for one in stored_in(workdir) if one.kind == "snapshot"]


def test_probabilities_are_those_that_a_run_predicts(tmp_path):
    """With a sigmoid loss, they do not sum to 1."""
    train(digits(**{"loss.name": "sigmoid_cross_entropy"}), tmp_path / "run")
    run = load_run(tmp_path / "run")
    dataset = run.dataset("test", {})
    found = probabilities_of(run, dataset, "test")
    np.testing.assert_allclose(found, run.predict(dataset.splits["test"].images), atol=1e-6)
    assert abs(found.sum(axis=1) - 1).max() > 0.1


def test_an_ensemble_is_the_mean_of_probabilities(runs):
    """Beside the predictions of each run for the same pixels."""
    members = [load_run(runs / name) for name in "ab"]
    together, each = evaluate_ensemble(members)
    data = load_dataset(members[0].config.data.to_dict())
    test = data.splits["test"]
    predicted = [run.predict(np.asarray(test.images)) for run in members]
    mean, labels = np.mean(predicted, axis=0), np.asarray(test.labels)
    assert together["count"] == len(labels) == 360
    assert together["accuracy"] == pytest.approx((mean.argmax(1) == labels).mean())
    loss = -np.log(mean[np.arange(len(labels)), labels]).mean()
    assert together["loss"] == pytest.approx(loss, rel=1e-5)
    for run, metrics in zip(members, each, strict=True):
        assert metrics == pytest.approx(run.evaluate("test"), rel=1e-5)
    # By Jensen's inequality.
    assert together["loss"] <= np.mean([metrics["loss"] for metrics in each])


def test_snapshots_are_kept_at_the_troughs(runs):
    assert kept(runs / "a") == [20, 30, 40]
    assert kept(runs / "b") == []
    assert_same_bits(load_state(runs / "a", "40").params, load_state(runs / "a", "latest").params)
    found = load_snapshots(runs / "a", 2)
    assert [run.step for run in found] == [30, 40]
    evaluate_ensemble(found)
    with pytest.raises(UserError, match=r"snapshots=4: workdir=.* has 3; config.checkpoint.snap"):
        load_snapshots(runs / "a", 4)
    with pytest.raises(UserError, match="has 0"):
        load_snapshots(runs / "b", 1)


def test_a_resumed_run_has_the_same_snapshots(runs, tmp_path, monkeypatch):
    config = digits(**{"checkpoint.snapshots": 3})
    with monkeypatch.context() as patch:
        stop_at(patch, 1)  # after a dispatch of several steps
        preempted(config, tmp_path / "cut")
    assert Workdir(tmp_path / "cut").read_result()["steps"] < 40
    train(config, tmp_path / "cut")
    assert kept(tmp_path / "cut") == [20, 30, 40]
    for step in ("20", "30", "40"):
        states = [load_state(path, step) for path in (runs / "a", tmp_path / "cut")]
        assert_same_bits(states[0].params, states[1].params)
    assert_same_bits(final_state(runs / "a"), final_state(tmp_path / "cut"))


def test_a_schedule_without_cycles_is_refused(tmp_path):
    config = load_config("digits_lenet", {"checkpoint.snapshots": "2"})  # a cosine
    with pytest.raises(
        UserError, match=r"config.checkpoint.snapshots=2: .*'cosine' has fewer .* \(1\)"
    ):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_averaged_is_refused(runs, tmp_path):
    train(digits(**{"data.split_seed": 5}), tmp_path / "other")
    with pytest.raises(UserError, match="trained on different data"):
        evaluate_ensemble([load_run(runs / "a"), load_run(tmp_path / "other")])
    train(digits(**{"loss.name": "sigmoid_cross_entropy"}), tmp_path / "sigmoid")
    with pytest.raises(UserError, match="'sigmoid_cross_entropy' does not give"):
        evaluate_ensemble([load_run(runs / "a"), load_run(tmp_path / "sigmoid")])


def test_the_command(runs, run_cli):
    code, out, _ = run_cli("eval", f"--ensemble={runs / 'a'},{runs / 'b'}", "--json")
    found = json.loads(out)
    assert code == 0
    assert [member["workdir"] for member in found["members"]] == [str(runs / n) for n in "ab"]
    assert found["count"] == 360
    code, out, _ = run_cli("eval", f"--workdir={runs / 'a'}", "--snapshots=3")
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == 5
    assert lines[-1].startswith("test, ensemble of 3")
    for wrong, message in (
        ([f"--ensemble={runs / 'a'}"], "must name two runs or more"),
        ([f"--workdir={runs / 'a'}", "--snapshots=1"], "--snapshots=1 must be at least 2"),
        ([f"--ensemble={runs / 'a'},{runs / 'b'}", "--tta=ten_crop"], "--tta does not go with"),
        ([f"--ensemble={runs / 'a'},{runs / 'b'}", "--snapshots=2"], "--snapshots needs --workdir"),
    ):
        code, _, err = run_cli("eval", *wrong)
        assert code == 1
        assert message in err
