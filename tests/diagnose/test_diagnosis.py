"""`jaxcnn diagnose`: it names what is wrong with runs that were made so, and nothing with healthy ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxcnn import default_config, load_config, train
from jaxcnn.cli.practice import _again
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.diagnose.curves import Curves, _least_loss
from jaxcnn.diagnose.diagnosis import _twice, diagnose
from jaxcnn.errors import UserError
from jaxcnn.train.judge import DivergedError
from jaxcnn.train.losses import create_loss
from jaxcnn.train.workdir import Workdir
from tests.conftest import QUICK

EVERY_EPOCH = {"data.placement": "device", "log.every": "1 epoch", "checkpoint.every": "100%"}
CONSTANT = {"schedule.name": "constant", "schedule.warmup": "0 steps"}


def digits(**settings):
    overrides = {**EVERY_EPOCH, "train.duration": "40 epochs", **settings}
    return load_config("digits_lenet", {key: str(value) for key, value in overrides.items()})


def with_one_unit(config):
    """Ten classes cannot be told apart by one number."""
    config = config.copy_and_resolve_references()
    config.model = {"name": "mlp", "widths": (1,), "activation": "tanh"}
    return config


FEW_IMAGES = {"data.validation_fraction": 0.8, "data.augment": [], "loss.l2_regularization": 0.0}
MADE = {
    "diverged": digits(**CONSTANT, **{"optimizer.name": "sgd", "optimizer.learning_rate": 1000.0}),
    "learning rate too high": digits(
        **CONSTANT, **{"optimizer.learning_rate": 0.2, "train.duration": "15 epochs"}
    ),
    "learning rate too low": digits(**{"optimizer.learning_rate": 3e-5}),
    "unstable": digits(
        **{
            "schedule.name": "constant",
            "optimizer.name": "adam",
            "optimizer.learning_rate": 0.03,
            "train.duration": "60 epochs",
        }
    ),
    "overfitting": digits(
        **CONSTANT,
        **FEW_IMAGES,
        **{"optimizer.learning_rate": 0.02, "train.duration": "100 epochs"},
    ),
    "underfitting": with_one_unit(digits()),
    "plateau": digits(
        **CONSTANT, **{"optimizer.learning_rate": 0.1, "loss.l2_regularization": 0.01}
    ),
    "still improving": digits(
        **CONSTANT,
        **{"optimizer.learning_rate": 0.004, "train.duration": "8 epochs", "eval.every": "1 epoch"},
    ),
}
HEALTHY = {
    "the shipped one": digits(**{"train.duration": "60 epochs"}),
    "with Adam": digits(**{"optimizer.name": "adam", "optimizer.learning_rate": 0.002}),
    "of angles": load_config(
        "digits_rotation",
        {"data.placement": "device", "model.widths": "(8, 16)", "train.duration": "4 epochs"},
    ),
}


def conditions(config, workdir):
    try:
        train(config, workdir)
    except DivergedError:
        assert "diverged" in str(workdir)
    return diagnose(Curves.of(workdir))


@pytest.mark.parametrize("name", MADE)
def test_what_is_wrong_is_named(tmp_path, name):
    found = {each.name: each for each in conditions(MADE[name], tmp_path / name)}
    assert name in found
    assert found[name].evidence
    assert found[name].advice
    # Settings that exist, of their own types.
    changed = {key: str(value) for key, value in found[name].settings.items()}
    load_config("digits_lenet", changed)
    assert changed or name == "underfitting"


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_wrong_with_a_healthy_run(tmp_path, name):
    assert conditions(HEALTHY[name], tmp_path / "run") == []


def curves_of(losses, every=1, rate=0.1, **config):
    """Of a run at a constant rate that writes the mean of so many losses at a time."""
    means = np.asarray(losses).reshape(-1, every).mean(axis=1)
    steps = every * np.arange(1, 1 + len(means), dtype=float)
    none = np.zeros(0)
    settings = load_config("digits_lenet", {key: str(value) for key, value in config.items()})
    return Curves(
        Path("run"), settings, "completed", steps, means, np.full(len(means), rate), none, none,
        neutral=np.log(10), floor=_least_loss(settings, 10), rollbacks=(),
    )  # fmt: skip


def test_how_often_a_line_is_written_makes_no_run_unstable():
    """A loss near 0 varies from batch to batch by a multiple of itself."""
    losses = 0.02 * np.random.default_rng(0).lognormal(0, 1.3, 1000)
    losses[:100] += np.linspace(2.3, 0, 100)
    for every in (1, 2, 5, 20):
        assert diagnose(curves_of(losses, every)) == []
    losses[::100] += 30.0  # a batch in a hundred
    for every in (1, 2, 5, 20):
        assert "unstable" in {each.name for each in diagnose(curves_of(losses, every))}


def test_smoothed_labels_have_a_loss_of_their_own():
    """It is the loss of the smoothed labels themselves; a run that is there has no plateau."""
    for name, logits in (
        ("softmax_cross_entropy", lambda q: np.log(q)),
        ("sigmoid_cross_entropy", lambda q: np.log(q / (1 - q))),
    ):
        config = load_config("digits_lenet", {"loss.name": name, "loss.label_smoothing": "0.2"})
        labels = np.full(10, 0.02) + 0.8 * np.eye(10)[3]
        loss = create_loss(config.loss.to_dict(), train=True)
        least = loss(
            logits(labels)[None].astype(np.float32), np.array([3]), np.ones(1, bool)
        ).summed
        assert _least_loss(config, 10) == pytest.approx(float(least), rel=1e-5)
    floor = _least_loss(load_config("digits_lenet", {"loss.label_smoothing": "0.2"}), 10)
    losses = floor + np.concatenate([np.linspace(1.4, 0.02, 30), np.full(60, 0.02)])
    constant = {"loss.label_smoothing": 0.2, **CONSTANT}
    assert diagnose(curves_of(losses, **constant)) == []
    assert "plateau" in {each.name for each in diagnose(curves_of(losses, **CONSTANT))}


def test_weights_of_classes_do_not_change_what_is_found(tmp_path):
    """All of them ten times as large: ten times the loss, at a tenth of the rate the same run."""
    quick = {"model.name": "linear", "train.duration": "3 epochs", "log.every": "10 steps"}
    for name, weight in (("one", 1.0), ("ten", 10.0)):
        weights = {"loss.class_weights": [weight] * 10, "optimizer.learning_rate": 0.05 / weight}
        decay = {"loss.l2_regularization": 0.0}
        train(digits(**{**quick, **weights, **decay}), tmp_path / name)
    one, ten = (Curves.of(tmp_path / name) for name in ("one", "ten"))
    np.testing.assert_allclose(ten.losses, one.losses, rtol=1e-3)


def test_lines_that_lack_a_number_are_left_out(tmp_path, small_config, blobs, caplog):
    train(small_config, tmp_path / "run", dataset=blobs)
    before = Curves.of(tmp_path / "run")
    with Workdir(tmp_path / "run").metrics.open("a") as file:
        file.write('{"step": 41, "split": "train"}\n')
        file.write('{"step": 42, "split": "train", "loss": null, "learning_rate": 0.1}\n')
    np.testing.assert_array_equal(Curves.of(tmp_path / "run").losses, before.losses)
    assert "2 of 10 train lines have no loss or learning_rate; they are left out" in caplog.text


def test_another_schedule_does_not_get_the_settings_of_the_old_one():
    command = ["jaxcnn", "train", "--config=a", "--config.schedule.name=step"]
    command += ["--config.schedule.every", "90%", "--config.schedule.warmup=5%", "--workdir=w"]
    assert _again(command, {"schedule.name": "cosine"}, "w-2") == (
        "jaxcnn train --config=a --config.schedule.warmup=5% --config.schedule.name=cosine "
        "--workdir=w-2"
    )


def test_labels_that_say_nothing(tmp_path):
    """Neither a larger network nor another learning rate is what such a run needs."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (200, 4, 4, 1)).astype(np.uint8), rng.integers(0, 3, 200)
    dataset = dataset_from_arrays((images, labels.astype(np.int32)))
    config = default_config()
    config.model.update({"name": "mlp", "widths": (4,)})
    config.data.placement = "device"
    config.optimizer.learning_rate = 0.01
    config.loss.l2_regularization = 1.0
    config.train.update({"duration": "600 steps", "global_batch_size": 60})
    config.log.every = "20 steps"
    train(config, tmp_path / "run", dataset=dataset)
    assert [each.name for each in diagnose(Curves.of(tmp_path / "run"))] == ["not learning"]


def test_twice_as_long():
    for duration, twice in (
        ("8 epochs", "16 epochs"),
        ("1000000examples", "2000000 examples"),
        ("2.5epochs", "5 epochs"),
        ("1 step", "2 steps"),
    ):
        assert _twice(duration) == twice


def test_a_run_of_few_lines_is_refused(tmp_path, small_config, blobs):
    small_config.log.every = small_config.eval.every = small_config.checkpoint.every = "40 steps"
    train(small_config, tmp_path / "run", dataset=blobs)
    with pytest.raises(
        UserError, match=r"has 1 training lines, too few .* config.log.every='40 steps'"
    ):
        Curves.of(tmp_path / "run")


def test_the_command(tmp_path, run_cli):
    run = tmp_path / "run"
    settings = ("--config.schedule.name=constant", "--config.log.every=10 steps", *QUICK[:2])
    settings += ("--config.train.duration=80 steps", "--config.schedule.warmup=0 steps")
    rate = "--config.optimizer.learning_rate=3e-05"
    assert run_cli("train", "--config=digits_lenet", f"--workdir={run}", *settings, rate)[0] == 0
    assert run_cli("diagnose", tmp_path / "none")[0] == 1
    code, out, _ = run_cli("diagnose", run, run)
    assert code == 0
    assert f"{run}: learning rate too low" in out
    assert "--config.optimizer.learning_rate=0.0003" in out
    assert (run / "plots" / "diagnosis.png").stat().st_size > 10_000
    code, out, _ = run_cli("diagnose", run, "--json")
    (found,) = json.loads(out)[str(run)]
    assert found["settings"] == {"optimizer.learning_rate": 0.0003}
    shutil.rmtree(run / "checkpoints")
    assert "learning rate too low" in run_cli("diagnose", run)[1]
