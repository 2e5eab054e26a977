"""Classes of different sizes: weights, held-out shares, accuracy per class."""

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, precision_score, recall_score

from jaxcnn import load_config
from jaxcnn.data.dataset import dataset_from_arrays, load_dataset
from jaxcnn.errors import UserError
from jaxcnn.layout import Layout
from jaxcnn.train.confusion import Confusion, confusion_of
from jaxcnn.train.experiment import Experiment
from jaxcnn.train.saved_run import load_run
from jaxcnn.train.start import train

SMALL = {
    "model.name": "linear",
    "data.augment": "[]",
    "data.placement": "device",
    "schedule.warmup": "0 steps",
    "train.duration": "20 steps",
}


def digits(**settings):
    overrides = {**SMALL, **settings}
    return load_config("digits_lenet", {key: str(value) for key, value in overrides.items()})


@pytest.fixture(scope="module")
def imbalanced():
    """300, 90 and 10 images, of noise that overlaps."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [300, 90, 10]).astype(np.int32)
    images = rng.integers(0, 200, (400, 6, 6, 1)) + 25 * labels[:, None, None, None]
    return dataset_from_arrays((images.astype(np.uint8), labels), validation_fraction=0.0)


def weights_of(config, dataset):
    recipe = Experiment.of(config, dataset.spec, Layout.over_all_devices()).recipe
    return recipe.loss.keywords["class_weights"]


def test_balanced_weights_make_every_class_count_alike(imbalanced):
    weights = weights_of(digits(**{"loss.balanced": True}), imbalanced)
    counts = np.array(imbalanced.spec.class_counts)
    assert counts.tolist() == [300, 90, 10]
    np.testing.assert_allclose(weights * counts, 400 / 3)
    assert (weights * counts).sum() == pytest.approx(400)  # the loss keeps its scale


def test_training_with_weights_serves_the_small_classes(imbalanced, tmp_path):
    accuracy = {}
    for balanced in (False, True):
        config = digits(
            **{"data.resize": 6, "loss.balanced": balanced, "train.duration": "100 steps"}
        )
        train(config, tmp_path / str(balanced), dataset=imbalanced)
        images = np.asarray(imbalanced.splits["train"].images)
        labels = np.asarray(imbalanced.splits["train"].labels)
        predicted = load_run(tmp_path / str(balanced)).predict(images).argmax(axis=1)
        accuracy[balanced] = recall_score(labels, predicted, average=None)
    assert accuracy[True][2] > accuracy[False][2]
    assert accuracy[True].mean() > accuracy[False].mean()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"loss.class_weights": "(1.0, 2.0)"},
            "class_weights has 2 numbers, and there are 10 classes",
        ),
        ({"loss.class_weights": str((1.0,) * 9 + (-1.0,))}, "must be at least 0 each"),
        (
            {"loss.class_weights": str((1.0,) * 10), "loss.balanced": True},
            "exclude each other",
        ),
    ],
)
def test_weights_that_do_not_fit(settings, message):
    config = digits(**settings)
    with pytest.raises(UserError, match=message):
        weights_of(config, load_dataset(config.data.to_dict()))


def test_the_same_share_of_each_class_is_held_out():
    config = digits(**{"data.stratified": True, "data.validation_fraction": 0.25})
    dataset = load_dataset(config.data.to_dict())
    counts = {name: np.bincount(np.asarray(part.labels)) for name, part in dataset.splits.items()}
    plain = load_dataset(digits(**{"data.validation_fraction": 0.25}).data.to_dict())
    assert dataset.spec.sizes == plain.spec.sizes
    whole = counts["train"] + counts["validation"]
    assert np.abs(counts["validation"] - 0.25 * whole).max() <= 1
    assert counts["validation"].sum() == dataset.spec.sizes["validation"]
    others = np.bincount(np.asarray(plain.splits["validation"].labels))
    assert np.abs(others - 0.25 * whole).max() > 1
    # Together they are the same images.
    both = [
        sorted(
            bytes(image) for name in ("train", "validation") for image in each.splits[name].images
        )
        for each in (dataset, plain)
    ]
    assert both[0] == both[1]


def test_targets_have_no_classes():
    config = load_config("digits_rotation", {"data.stratified": "True"})
    with pytest.raises(UserError, match="config.data.stratified=True needs classes"):
        load_dataset(config.data.to_dict())


def test_a_confusion_matrix_beside_scikit_learns(tmp_path, run_cli):
    train(digits(), tmp_path / "run")
    run = load_run(tmp_path / "run")
    found = confusion_of(run, "test")
    split = run.dataset("test", {}).splits["test"]
    labels, predicted = np.asarray(split.labels), run.predict(np.asarray(split.images)).argmax(1)
    np.testing.assert_array_equal(found.counts, confusion_matrix(labels, predicted))
    np.testing.assert_allclose(found.accuracies, recall_score(labels, predicted, average=None))
    np.testing.assert_allclose(found.precisions, precision_score(labels, predicted, average=None))
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))

    workdir = f"--workdir={tmp_path / 'run'}"
    code, out, _ = run_cli("eval", workdir, "--per_class", "--json")
    said = json.loads(out)
    assert code == 0
    assert said["balanced_accuracy"] == found.balanced_accuracy
    assert said["confusion"] == found.counts.tolist()
    code, out, _ = run_cli("eval", workdir, "--per_class")
    assert code == 0
    assert f"{'balanced accuracy':<32}{found.balanced_accuracy:>10.2%}" in out
    code, _, err = run_cli("eval", workdir, "--per_class", "--tta=ten_crop")
    assert code == 1
    assert "--tta does not go with --per_class" in err


def test_columns_stay_in_line_beside_wide_characters():
    names = ("日本語", "a very long class name that does not end here", "x")
    table = Confusion(names, 7 * np.eye(3, dtype=int)).table().splitlines()
    assert table[1].startswith("日本語" + 26 * " ")
    assert table[2].startswith("a very long class name that doe…")
    ends = [line[: line.index("%")] for line in table[1:4]]
    assert [len(end) for end in ends] == [len(ends[2]) - 3, len(ends[2]), len(ends[2])]
