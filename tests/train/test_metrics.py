import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.errors import UserError
from jaxcnn.train.losses import Loss
from jaxcnn.train.metrics import (
    ClassMeans,
    Divergence,
    ManyClassMeans,
    TrainMetrics,
    classification_means,
    is_better,
    merge,
    regression_means,
)
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir

pytestmark = pytest.mark.fast


def train_metrics(step, loss, finite=True):
    means = ClassMeans.single_from_model_output(
        loss=jnp.array(loss),
        correct=jnp.array([True, False, True]),
        mask=jnp.array([True, True, False]),
    )
    rate = jnp.float32(0.1 * step)
    divergence = Divergence.of(jnp.int32(step), jnp.bool_(finite), rate)
    return TrainMetrics(means, {"learning_rate": rate, "grad_norm": jnp.float32(step)}, divergence)


def test_means_run_over_all_examples_that_count():
    merged = merge(train_metrics(1, [1.0, 2.0, 99.0]), train_metrics(2, [3.0, 6.0, 99.0]))
    ((values, divergence, parts),) = merged.read()
    assert values == {
        "loss": 3.0,
        "accuracy": 0.5,
        "learning_rate": pytest.approx(0.2),
        "grad_norm": 2.0,
    }
    assert divergence is None
    assert len(parts) == len(jax.tree.leaves(merged))


@pytest.mark.parametrize("trials", [1, 3])
def test_metrics_that_are_read_and_made_of_their_parts_go_on_with_the_same_bits(trials):
    first = [train_metrics(number, [0.1 * number, 0.7, 99.0]) for number in range(1, 4)]
    second = train_metrics(4, [1 / 3, 1 / 7, 99.0])
    if trials > 1:
        first = [jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, 3 * leaf]), m) for m in first]
        second = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), second)
    so_far = functools.reduce(merge, first)
    parts = json.loads(json.dumps([reading.parts for reading in so_far.read()]))
    again = TrainMetrics.of_parts(parts, jax.eval_shape(lambda: second))
    assert merge(again, second).read() == merge(so_far, second).read()


def test_the_first_step_that_is_not_finite_is_kept():
    merged = train_metrics(1, [1.0, 2.0, 3.0])
    for step in (2, 3, 4):
        merged = merge(merged, train_metrics(step, [1.0, 2.0, 3.0], finite=step == 2))
    ((_, divergence, _),) = merged.read()
    assert divergence == (3, pytest.approx(0.3))


def test_eval_metrics_count():
    def metrics(loss, correct, mask):
        return ClassMeans.single_from_model_output(
            loss=jnp.array(loss), correct=jnp.array(correct), mask=jnp.array(mask)
        )

    merged = merge(
        metrics([1.0, 2.0], [True, True], [True, True]),
        metrics([6.0, 0.0], [False, True], [True, False]),
    )
    assert merged.read() == {"loss": 3.0, "accuracy": pytest.approx(2 / 3), "count": 3}


def test_errors_are_in_the_unit_of_the_data_and_what_is_masked_does_not_count():
    """Targets of two entries, standardised with deviations of 10 and 1."""
    loss = Loss(jnp.float32(0), jnp.int32(2), jnp.array([0.5, 1.5, 0.0]))
    outputs = jnp.array([[1.0, 2.0], [0.0, 0.0], [9.0, 9.0]])
    targets = jnp.array([[0.0, 0.0], [0.5, -1.0], [0.0, 0.0]])
    mask = jnp.array([True, True, False])
    found = regression_means(loss, outputs, targets, mask, np.array([10.0, 1.0])).read()
    assert found == {"loss": 1.0, "mae": pytest.approx((10 + 2 + 5 + 1) / 4), "count": 2}


def test_probabilities_as_labels_count_by_their_largest():
    loss = Loss(jnp.float32(0), jnp.int32(2), jnp.zeros(2))
    logits, labels = jnp.array([[2.0, 1.0], [0.0, 1.0]]), jnp.array([[0.6, 0.4], [0.9, 0.1]])
    found = classification_means(loss, logits, labels, jnp.ones(2, bool)).read()
    assert found["accuracy"] == 0.5


def test_accuracy_is_better_when_higher_and_all_else_when_lower():
    assert is_better("accuracy", {"accuracy": 0.9, "loss": 2.0}, {"accuracy": 0.8, "loss": 1.0})
    assert is_better("loss", {"loss": 0.8}, {"loss": 0.9})
    assert not is_better("mae", {"mae": 0.8, "loss": 0.1}, {"mae": 0.8, "loss": 0.1})


def test_of_equal_accuracies_the_lower_loss_is_better():
    """A small validation split gives few different accuracies; the earliest is rarely the best."""
    earlier, later = {"accuracy": 0.98, "loss": 0.2}, {"accuracy": 0.98, "loss": 0.1}
    assert is_better("accuracy", later, earlier)
    assert not is_better("accuracy", earlier, later)
    assert not is_better("accuracy", earlier, dict(earlier))


def test_top_5_accuracy_counts_labels_among_the_five_largest(rng):
    """Of twelve classes; a tie goes to the class with the lower number, and NaN is never among them."""
    logits = rng.normal(size=(200, 12)).astype(np.float32)
    labels = rng.integers(0, 12, 200)
    mask = np.arange(200) < 180
    loss = Loss(jnp.float32(0), jnp.int32(180), jnp.zeros(200))
    means = classification_means(loss, jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(mask))
    assert isinstance(means, ManyClassMeans)
    five = np.argsort(-logits, axis=1)[:, :5]
    expected = (five == labels[:, None]).any(axis=1)[:180].mean()
    assert means.read()["top5_accuracy"] == pytest.approx(expected)
    assert means.read()["accuracy"] == pytest.approx((five[:180, 0] == labels[:180]).mean())

    def among_five(row, label):
        row, one = jnp.asarray([row], jnp.float32), jnp.ones(1, bool)
        loss = Loss(jnp.float32(0), jnp.int32(1), jnp.zeros(1))
        return classification_means(loss, row, jnp.asarray([label]), one).read()["top5_accuracy"]

    descending = list(range(12, 0, -1))
    assert [among_five(descending, label) for label in (3, 4, 5)] == [1, 1, 0]
    assert [among_five([0] * 12, label) for label in (4, 5)] == [1, 0]
    assert among_five([np.nan] * 12, 0) == 0


def test_with_few_classes_there_is_no_top_5():
    loss = Loss(jnp.float32(0), jnp.int32(1), jnp.zeros(1))
    means = classification_means(loss, jnp.zeros((1, 9)), jnp.zeros(1, int), jnp.ones(1, bool))
    assert set(means.read()) == {"loss", "accuracy", "count"}


def test_a_run_may_be_judged_by_top_5_accuracy(small_config, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 12, 12, 1)).astype(np.uint8)
    dataset = dataset_from_arrays((images, np.arange(200) % 12))
    small_config.checkpoint.best_metric = "top5_accuracy"
    small_config.eval.every = "5 steps"
    result = train(small_config, tmp_path / "run", dataset=dataset)
    lines = [
        line for line in Workdir(tmp_path / "run").read_metrics() if line["split"] == "validation"
    ]
    best = max(lines, key=lambda line: (line["top5_accuracy"], -line["loss"]))
    assert result["best"]["step"] == best["step"]
    assert result["best"]["validation"]["top5_accuracy"] == best["top5_accuracy"]
    assert len({line["top5_accuracy"] for line in lines}) > 1


def test_top_5_accuracy_needs_ten_classes(small_config, blobs, tmp_path):
    small_config.checkpoint.best_metric = "top5_accuracy"
    with pytest.raises(
        UserError, match="best_metric='top5_accuracy' must be loss or accuracy for data with 3"
    ):
        train(small_config, tmp_path / "run", dataset=blobs)
    assert not (tmp_path / "run").exists()
