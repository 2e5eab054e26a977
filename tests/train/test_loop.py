"""The training loop: what a run writes, when it stops, what it reads from the device."""

import json
import shutil

import jax
import pytest
from PIL import Image

from jaxcnn.errors import UserError
from jaxcnn.train import evaluate as evaluation
from jaxcnn.train import keeping, loop
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.experiment import resolve
from jaxcnn.train.saved_run import load_run
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir
from tests.train.runs import (
    assert_same_bits,
    final_state,
    of_splits,
    without_time,
)


def test_what_a_run_leaves(small_config, blobs, tmp_path, curves):
    result = train(small_config, tmp_path / "run", dataset=blobs)
    workdir = Workdir(tmp_path / "run")
    assert result == json.loads(workdir.result.read_text())
    assert result["status"] == "completed"
    assert result["steps"] == 40
    assert result["images"] == 40 * 32
    assert result["final"]["step"] == 40
    assert result["final"]["test"]["count"] == 50
    assert result["best"]["validation"]["count"] == 20
    assert result["best"]["test"]["accuracy"] > 0.8
    assert result["best"]["validation"]["accuracy"] >= result["final"]["validation"]["accuracy"]
    assert result["seconds"] > 0

    lines = workdir.read_metrics()
    train_lines = [line for line in lines if line["split"] == "train"]
    validation_lines = [line for line in lines if line["split"] == "validation"]
    assert [line["step"] for line in train_lines] == list(range(5, 41, 5))
    assert [line["step"] for line in validation_lines] == [10, 20, 30, 40]
    assert set(train_lines[0]) == {
        "step", "epoch", "split", "loss", "accuracy", "learning_rate", "examples_per_second",
        "grad_norm",
    }  # fmt: skip
    assert train_lines[-1]["epoch"] == pytest.approx(40 * 32 / 180, abs=1e-4)
    assert train_lines[0]["learning_rate"] == pytest.approx(0.05, rel=0.01)

    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert len(environment) == 1  # one start
    assert environment[0]["versions"]["jax"] == jax.__version__
    assert environment[0]["devices"]
    assert workdir.read_config().model.hidden == 16  # resolved
    assert Image.open(workdir.curves).size[0] > 1000
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_same_config_same_bits_other_seed_other_bits(small_config, blobs, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        small_config.seed = seed
        train(small_config, tmp_path / name, dataset=blobs)
    a, b, c = (final_state(tmp_path / name) for name in "abc")
    assert_same_bits(a, b)
    assert (a.params["head"]["kernel"] != c.params["head"]["kernel"]).any()
    lines = [without_time(Workdir(tmp_path / name).read_metrics()) for name in "ab"]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("placement", ["host", "device"])
def test_nothing_moves_to_or_from_the_device_unasked(
    small_config, blobs, tmp_path, monkeypatch, placement
):
    small_config.data.placement = placement
    whole_loop = loop.Run.train

    def guarded(self):
        jax.config.update("jax_transfer_guard", "disallow")  # in every thread
        try:
            return whole_loop(self)
        finally:
            jax.config.update("jax_transfer_guard", "allow")

    monkeypatch.setattr(loop.Run, "train", guarded)
    assert train(small_config, tmp_path / "run", dataset=blobs)["status"] == "completed"


def test_early_stopping_ends_the_run_and_keeps_it_ended(small_config, blobs, tmp_path, monkeypatch):
    """The best is at the first evaluation; the third after it without a better one is the last."""
    losses = iter([0.5, 0.6, 0.5, 0.7, 9.9, 9.9, 9.9, 9.9, 9.9, 9.9])

    def evaluate(*_):
        return {"loss": next(losses), "accuracy": 0.5, "count": 20}

    config = resolve(small_config, {"early_stopping.patience": "3", "eval.every": "4 steps"})
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "evaluate_split", evaluate)
        result = train(config, tmp_path / "run", dataset=blobs)
    assert result["status"] == "early_stopped"
    assert result["steps"] == result["final"]["step"] == 16
    assert result["best"]["step"] == 4
    assert load_run(tmp_path / "run", "latest").step == 16
    assert train(config, tmp_path / "run", dataset=blobs) == result
    # Killed after the last checkpoint and before the result: it stays ended.
    (tmp_path / "run" / "result.json").unlink()
    assert train(config, tmp_path / "run", dataset=blobs)["steps"] == 16


@pytest.mark.parametrize(
    "overrides", [{"schedule.name": "reduce_on_plateau"}, {"early_stopping.patience": "3"}]
)
def test_what_reacts_to_validation_needs_a_validation_split(
    small_config, blobs, tmp_path, overrides
):
    splits = {"train": blobs.splits["train"]}
    dataset = of_splits(blobs, splits)
    with pytest.raises(UserError, match="needs a validation split, and the data has none"):
        train(resolve(small_config, overrides), tmp_path / "run", dataset=dataset)


def test_the_whole_optimizer_and_each_rule_is_said(small_config, blobs, tmp_path, caplog):
    overrides = {
        "optimizer.name": "adamw", "averaging.name": "ema", "parameters.frozen": "['^conv1']",
        "parameters.learning_rates": "[{'pattern': '^head', 'multiplier': 2}]",
    }  # fmt: skip
    config = resolve(small_config, overrides)
    with caplog.at_level("INFO", "jaxcnn"):
        train(config, tmp_path / "run", dataset=blobs)
    said = "\n".join(caplog.messages)
    assert "optimizer: adamw, b1=0.9, b2=0.999, clip_norm=0, clip_value=0, eps=1e-08" in said
    assert "averaging: ema, batch_stats=averaged, decay=0.999, warmup=True" in said
    assert "decayed ((^|/)kernel$): " in said
    assert "learning rate × 2 (^head): 51 parameters in 2 of" in said
    assert "frozen (^conv1): 40 parameters in 2 of" in said


def test_a_damaged_best_checkpoint_is_said_and_chosen_anew(small_config, blobs, tmp_path, caplog):
    train(small_config, tmp_path / "run", dataset=blobs)
    workdir = Workdir(tmp_path / "run")
    workdir.result.unlink()
    shutil.rmtree(workdir.latest / "40")
    (step,) = (path for path in workdir.best.iterdir() if path.name.isdigit())
    (step / "notes" / "metadata").write_text("{")
    result = train(small_config, tmp_path / "run", dataset=blobs)
    assert "the best checkpoint so far is damaged; the best is chosen anew" in caplog.text
    assert result["best"]["step"] == 40


def test_a_best_checkpoint_that_cannot_be_read_now_is_left_as_it_is(
    small_config, blobs, tmp_path, monkeypatch
):
    train(small_config, tmp_path / "run", dataset=blobs)
    workdir = Workdir(tmp_path / "run")
    workdir.result.unlink()
    before = sorted(path.name for path in workdir.best.iterdir())

    def restore(self, step, like):
        if self.directory == workdir.best:
            raise UserError(f"{self.directory / str(step)} cannot be read: no answer")
        return original(self, step, like)

    original = Checkpoints.restore
    monkeypatch.setattr(Checkpoints, "restore", restore)
    with pytest.raises(UserError, match="cannot be read: no answer"):
        train(small_config, tmp_path / "run", dataset=blobs)
    assert sorted(path.name for path in workdir.best.iterdir()) == before


def test_a_finished_run_is_left_alone(small_config, blobs, tmp_path):
    first = train(small_config, tmp_path / "run", dataset=blobs)
    assert train(small_config, tmp_path / "run", dataset=blobs) == first


def test_without_a_validation_split_the_last_is_the_best(small_config, blobs, tmp_path):
    splits = {name: blobs.splits[name] for name in ("train", "test")}
    dataset = of_splits(blobs, splits)
    result = train(small_config, tmp_path / "run", dataset=dataset)
    assert result["best"] == result["final"]
    assert set(result["final"]) == {"step", "test"}
    assert load_run(tmp_path / "run").step == 40


def test_the_best_is_on_disk_before_the_latest_is_begun(small_config, blobs, tmp_path, monkeypatch):
    events = []
    for name in ("save", "wait"):
        original = getattr(keeping.Checkpoints, name)

        def recorded(self, *args, name=name, original=original):
            events.append((name, self.directory.name))
            return original(self, *args)

        monkeypatch.setattr(keeping.Checkpoints, name, recorded)
    train(small_config, tmp_path / "run", dataset=blobs)
    saves_of_best = [i for i, event in enumerate(events) if event == ("save", "best")]
    assert saves_of_best
    for i in saves_of_best:
        assert events[i + 1 : i + 3] == [("wait", "best"), ("save", "latest")]
