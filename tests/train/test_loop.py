import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.data.feeding import device as on_device
from jaxcnn.errors import UserError
from jaxcnn.train import evaluate as evaluation
from jaxcnn.train import keeping, loop
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.experiment import resolve
from jaxcnn.train.judge import DivergedError
from jaxcnn.train.preemption import Preempted
from jaxcnn.train.saved_run import load_run, load_state
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir


def final_state(workdir):
    return jax.tree.map(
        lambda leaf: np.asarray(
            jax.random.key_data(leaf)
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            else leaf
        ),
        load_state(workdir),
    )


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def without_time(lines):
    return [{k: v for k, v in line.items() if k != "examples_per_second"} for line in lines]


def of_splits(dataset, splits):
    """The same data with these splits alone."""
    sizes = {name: len(split) for name, split in splits.items()}
    return type(dataset)(splits, replace(dataset.spec, sizes=sizes))


def test_what_a_run_leaves(small_config, blobs, tmp_path):
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


@pytest.mark.parametrize(
    ("placement", "stop_after"), [("host", 1), ("host", 7), ("host", 23), ("device", 3)]
)
def test_stopped_anywhere_and_resumed_is_bit_for_bit_the_same(
    small_config, blobs, tmp_path, monkeypatch, placement, stop_after
):
    """Stops by itself in the middle of an epoch, as SIGTERM does, then goes on."""
    small_config.data.placement = placement
    monkeypatch.setattr(on_device, "STEPS_PER_DISPATCH", {"cpu": 4})
    train(small_config, tmp_path / "whole", dataset=blobs)

    with monkeypatch.context() as patch:
        stop_at(patch, stop_after)
        result = preempted(small_config, tmp_path / "stopped", dataset=blobs)
    assert 0 < result["steps"] < 40
    assert result["final"] is None

    result = train(small_config, tmp_path / "stopped", dataset=blobs)
    assert result["status"] == "completed"
    assert_same_bits(final_state(tmp_path / "whole"), final_state(tmp_path / "stopped"))
    whole, stopped = (Workdir(tmp_path / name) for name in ("whole", "stopped"))
    validation = [
        [line for line in workdir.read_metrics() if line["split"] == "validation"]
        for workdir in (whole, stopped)
    ]
    assert validation[0] == validation[1]
    results = [workdir.read_result() for workdir in (whole, stopped)]
    assert results[0]["best"] == results[1]["best"]
    assert results[0]["final"] == results[1]["final"]


def preempted(config, workdir, **data):
    """The result of a run that a signal ended."""
    with pytest.raises(Preempted) as raised:
        train(config, workdir, **data)
    assert raised.value.result == Workdir(workdir).read_result()
    assert raised.value.result["status"] == "preempted"
    return raised.value.result


def stop_at(patch, stop_after):
    """Makes a run stop by itself, as SIGTERM does, when so many steps have been asked about."""

    class Stop(loop.Preemption):
        asked = 0

        @property
        def requested(self):
            type(self).asked += 1
            return type(self).asked > stop_after

        @requested.setter
        def requested(self, value):
            """Steps alone decide here."""

    patch.setattr(loop, "Preemption", Stop)


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


def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(small_config, blobs, tmp_path):
    small_config.model.norm = "none"
    small_config.optimizer.learning_rate = 1e6
    small_config.schedule.warmup = "25 steps"
    small_config.train.duration = "200 steps"
    small_config.optimizer.momentum = 0.0
    small_config.log.every = "1 step"
    small_config.checkpoint.every = "1 step"
    with pytest.raises(DivergedError) as error:
        train(small_config, tmp_path / "run", dataset=blobs)
    result = Workdir(tmp_path / "run").read_result()
    assert result["status"] == "diverged"
    steps = result["steps"]
    message = str(error.value)
    assert f"the loss became NaN or infinite at step {steps} (learning rate" in message
    assert "try a smaller config.optimizer.learning_rate" in message
    assert f"the checkpoint of step {steps - 1} is kept" in message
    kept = load_state(tmp_path / "run")
    assert kept.step == steps - 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept.params))


def test_a_validation_loss_that_is_nan_stops_the_run(small_config, blobs, tmp_path, monkeypatch):
    values = {"loss": float("nan"), "accuracy": 0.1, "count": 20}
    monkeypatch.setattr(evaluation, "evaluate_split", lambda *_: values)
    with pytest.raises(DivergedError, match="NaN or infinite at step 10"):
        train(small_config, tmp_path / "run", dataset=blobs)
    assert Workdir(tmp_path / "run").read_result()["best"] is None


def strict_json(text):
    """As a reader of another language takes it: NaN and Infinity are no JSON."""

    def refused(constant):
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refused)


@pytest.mark.parametrize("with_validation", [True, False])
@pytest.mark.parametrize(
    ("overrides", "array"),
    [
        # Loss and gradient of the one step are finite; units that no image excites become 0/0.
        ({"optimizer.name": "adam", "optimizer.eps": "0"}, "params/"),
        ({"optimizer.name": "sgd", "optimizer.learning_rate": "1e39"}, "params/"),
        (
            {"optimizer.name": "sgd", "optimizer.learning_rate": "1e39", "averaging.name": "ema"},
            "a",
        ),
    ],
)
def test_weights_that_are_not_finite_are_neither_saved_nor_reported(
    small_config, tmp_path, overrides, array, with_validation, rng
):
    images = rng.integers(0, 256, (64, 8, 8, 1)).astype(np.uint8)
    dataset = dataset_from_arrays((images, np.arange(64) % 2), (images[:10], np.arange(10) % 2))
    if not with_validation:
        dataset = of_splits(dataset, {k: dataset.splits[k] for k in ("train", "test")})
    small_config.model = {"name": "mlp"}
    small_config.data.augment = []
    small_config.schedule.warmup = "0 steps"
    small_config.train.duration = "1 step"
    workdir = Workdir(tmp_path / "run")
    with pytest.raises(DivergedError, match=f"^{array}.* became NaN or infinite at step 1 "):
        train(resolve(small_config, overrides), workdir.path, dataset=dataset)
    assert not workdir.has_checkpoint()
    result = strict_json(workdir.result.read_text())
    assert result["status"] == "diverged"
    assert (result["best"], result["final"]) == (None, None)
    for line in workdir.metrics.read_text().splitlines():
        strict_json(line)


def test_a_test_loss_that_is_not_finite_is_not_reported(small_config, blobs, tmp_path, monkeypatch):
    """Finite weights whose answers overflow, of a run without validation."""
    dataset = of_splits(blobs, {k: blobs.splits[k] for k in ("train", "test")})
    values = {"loss": float("inf"), "accuracy": 0.1, "count": 50}
    monkeypatch.setattr(evaluation, "evaluate_split", lambda *_: values)
    with pytest.raises(DivergedError, match="the test loss became NaN or infinite at step 40"):
        train(small_config, tmp_path / "run", dataset=dataset)
    assert strict_json(Workdir(tmp_path / "run").result.read_text())["status"] == "diverged"


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
