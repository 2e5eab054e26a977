import jax.numpy as jnp
import pytest

from jaxcnn.train.metrics import EvalMetrics, TrainMetrics, merge


def train_metrics(step, loss, finite=True):
    return TrainMetrics.single_from_model_output(
        loss=jnp.array(loss),
        correct=jnp.array([True, False, True]),
        mask=jnp.array([True, True, False]),
        learning_rate=jnp.float32(0.1 * step),
        grad_norm=jnp.float32(step),
        step=jnp.int32(step),
        finite=jnp.bool_(finite),
    )


def test_means_run_over_all_examples_that_count():
    merged = merge(train_metrics(1, [1.0, 2.0, 99.0]), train_metrics(2, [3.0, 6.0, 99.0]))
    values, divergence = merged.read()
    assert values == {
        "loss": 3.0,
        "accuracy": 0.5,
        "learning_rate": pytest.approx(0.2),
        "grad_norm": 2.0,
    }
    assert divergence is None


def test_the_first_step_that_is_not_finite_is_kept():
    merged = train_metrics(1, [1.0, 2.0, 3.0])
    for step in (2, 3, 4):
        merged = merge(merged, train_metrics(step, [1.0, 2.0, 3.0], finite=step == 2))
    _, divergence = merged.read()
    assert divergence == (3, pytest.approx(0.3))


def test_eval_metrics_count():
    def metrics(loss, correct, mask):
        return EvalMetrics.single_from_model_output(
            loss=jnp.array(loss), correct=jnp.array(correct), mask=jnp.array(mask)
        )

    merged = merge(
        metrics([1.0, 2.0], [True, True], [True, True]),
        metrics([6.0, 0.0], [False, True], [True, False]),
    )
    assert merged.read() == {"loss": 3.0, "accuracy": pytest.approx(2 / 3), "count": 3}
