"""Losses and weights that are NaN or infinite stop a run; nothing of them is saved or reported."""

import json

import jax
import numpy as np
import pytest

from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.train import evaluate as evaluation
from jaxcnn.train.experiment import resolve
from jaxcnn.train.judge import DivergedError
from jaxcnn.train.saved_run import load_state
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir
from tests.train.runs import (
    of_splits,
)


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
