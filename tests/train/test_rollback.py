"""Runs that diverge: what they do, and what a second start says."""

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxcnn import register_optimizer
from jaxcnn.train.judge import DivergedError
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir
from tests.train.runs import (
    Death,
    assert_same_bits,
    final_state,
    preempted,
    stop_at,
    without_time,
)


@pytest.fixture(params=["host", "device"])
def diverging(small_config, request):
    """Diverges at step 25 unless the learning rate is below 0.03; it is 0.1."""

    @register_optimizer("fragile")
    def fragile(learning_rate=0.1):
        def update(grads, step, params=None):
            bad = (step == 24) & (learning_rate > 0.03)
            scale = jnp.where(bad, jnp.nan, -learning_rate)
            return jax.tree.map(lambda grad: scale * grad, grads), step + 1

        return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)

    small_config.data.placement = request.param
    small_config.optimizer.update({"name": "fragile", "learning_rate": 0.1})
    small_config.schedule.update({"name": "constant", "warmup": "0 steps"})
    small_config.train.on_divergence = "rollback"
    return small_config


def rollbacks(workdir):
    return [line for line in workdir.read_metrics() if line["split"] == "rollback"]


def test_a_run_goes_back_with_half_the_learning_rate(diverging, blobs, tmp_path, caplog):
    result = train(diverging, tmp_path / "run", dataset=blobs)
    assert (result["status"], result["steps"]) == ("completed", 40)
    lines = Workdir(tmp_path / "run").read_metrics()
    found = [
        (line["step"], line["diverged_at"], line["learning_rate_scale"])
        for line in lines
        if line["split"] == "rollback"
    ]
    assert found == [(20, 26, 0.5), (20, 26, 0.25)]
    assert "diverged at step 26; back to step 20, with the learning rate × 0.25" in caplog.text
    rates = {line["step"]: line["learning_rate"] for line in lines if line["split"] == "train"}
    assert rates == {
        step: pytest.approx(0.1 if step <= 20 else 0.025)
        for step in (5, 10, 15, 20, 25, 30, 35, 40)
    }
    # Every step's line is there once, in order.
    steps = [line["step"] for line in lines if line["split"] == "train"]
    assert steps == sorted(set(steps))


def test_without_a_checkpoint_it_starts_again(diverging, blobs, tmp_path):
    diverging.checkpoint.every = diverging.eval.every = "40 steps"
    result = train(diverging, tmp_path / "run", dataset=blobs)
    assert result["status"] == "completed"
    workdir = Workdir(tmp_path / "run")
    assert [line["step"] for line in rollbacks(workdir)] == [0, 0]
    # As a run with the smaller rate from the start.
    diverging.optimizer.learning_rate = 0.025
    train(diverging, tmp_path / "smaller", dataset=blobs)
    assert_same_bits(final_state(workdir.path).params, final_state(tmp_path / "smaller").params)


@pytest.mark.parametrize("stop_after", [22, 27, 32])
def test_interrupted_it_comes_to_the_same_bits_and_lines(
    diverging, blobs, tmp_path, monkeypatch, stop_after
):
    """Before the divergence, between two of them, and after the last."""
    diverging.log.every = "1 step"
    train(diverging, tmp_path / "whole", dataset=blobs)
    with monkeypatch.context() as patch:
        patch.setattr("jaxcnn.data.feeding.device.STEPS_PER_DISPATCH", {"cpu": 1})
        stop_at(patch, stop_after)
        preempted(diverging, tmp_path / "run", dataset=blobs)
    train(diverging, tmp_path / "run", dataset=blobs)
    whole, run = Workdir(tmp_path / "whole"), Workdir(tmp_path / "run")
    assert without_time(run.read_metrics()) == without_time(whole.read_metrics())
    assert_same_bits(final_state(run.path), final_state(whole.path))


def test_after_the_last_rollback_it_stops(diverging, blobs, tmp_path):
    diverging.train.max_rollbacks = 1
    with pytest.raises(DivergedError, match="at step 26 .learning rate 0.05.") as error:
        train(diverging, tmp_path / "run", dataset=blobs)
    assert error.value.exit_code == 76
    assert Workdir(tmp_path / "run").read_result()["status"] == "diverged"
    assert len(rollbacks(Workdir(tmp_path / "run"))) == 1


def test_a_second_start_says_so_at_once_and_may_be_told_to_go_on(diverging, blobs, tmp_path):
    diverging.train.on_divergence = "stop"
    with pytest.raises(DivergedError):
        train(diverging, tmp_path / "run", dataset=blobs)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.json*")}
    with pytest.raises(
        DivergedError,
        match=f"^workdir={tmp_path / 'run'} holds a run that diverged at step 30, as it would again; ",
    ):
        train(diverging, tmp_path / "run", dataset=blobs)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.json*")} == before
    diverging.train.on_divergence = "rollback"
    with pytest.raises(KeyError):  # it dies before its next checkpoint
        train(diverging, tmp_path / "run", dataset=blobs, observers=[Death(0)])
    assert train(diverging, tmp_path / "run", dataset=blobs)["status"] == "completed"
    assert [line["step"] for line in rollbacks(Workdir(tmp_path / "run"))] == [20, 20]
