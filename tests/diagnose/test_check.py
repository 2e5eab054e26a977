"""`jaxcnn check`: it passes on what is sound, and names what is wrong."""

import json
from dataclasses import replace

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxcnn import default_config, register_model
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.diagnose.check import check
from jaxcnn.diagnose.checks.data import Sample, check_labels, check_splits
from jaxcnn.diagnose.checks.finding import Finding
from jaxcnn.models import create_model
from jaxcnn.models.classifier import Classifier
from jaxcnn.models.flow import flow
from jaxcnn.train.experiment import resolve
from tests.conftest import DIGITS


@pytest.fixture(scope="module")
def patches():
    """Arrays of colour images: three classes of a bright stripe; channels of different brightness."""

    def images(count, seed):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 3, count).astype(np.int32)
        pixels = rng.integers(0, 60, (count, 12, 12, 3)) + np.array([90, 50, 10])
        for label in range(3):
            pixels[labels == label, 4 * label : 4 * label + 4] += 100
        return pixels.astype(np.uint8), labels

    return images(600, 0), images(200, 1)


@pytest.fixture
def config():
    config = default_config()
    config.model.update({"name": "simple_cnn", "widths": (4, 8), "hidden": 16, "norm": "none"})
    config.data.augment = [{"name": "horizontal_flip"}]
    config.optimizer.update({"name": "nesterov", "learning_rate": 0.02})
    config.loss.label_smoothing = 0.1
    return config


def failures(config, arrays, **settings):
    """{check: verdict} of the checks that fail."""
    dataset = dataset_from_arrays(*arrays)
    if settings:
        dataset = replace(dataset, spec=replace(dataset.spec, **settings))
    found = list(check(resolve(config), dataset, examples=16, steps=100))
    assert len({finding.check for finding in found}) == len(found) == 9
    return {finding.check: finding.verdict for finding in found if finding.failed}


def test_a_sound_config_passes(config, patches):
    """Of a cyclic schedule whose snapshots are kept, too: nothing is kept here."""
    config.schedule = {"name": "cosine_restarts", "first": "50 steps", "warmup": "0 steps"}
    config.checkpoint.snapshots = 1
    assert failures(config, patches) == {}


def test_shuffled_labels(config, patches):
    (images, labels), test = patches
    shuffled = np.random.default_rng(3).permutation(labels)
    found = failures(config, ((images, shuffled), test))
    assert list(found) == ["labels"]
    assert found["labels"].startswith("the labels do not belong to the images")


def test_labels_of_the_test_images_in_another_order(patches):
    train, (images, labels) = patches
    dataset = dataset_from_arrays(train, (images, (labels + 1) % 3))
    samples = {split: Sample(dataset, split) for split in dataset.splits}
    finding = check_labels(samples, 3, classes=True)
    assert finding.failed
    assert finding.verdict.startswith("the labels of the test images are not those")


@pytest.mark.parametrize(
    ("counts", "outcomes"), [((970, 30), ("passed", "failed")), ((160, 4), ("skipped", "skipped"))]
)
def test_a_rare_class_counts_as_much_as_a_frequent_one(counts, outcomes):
    """Guessing the frequent class is right for most images. A few images of a class prove nothing."""
    labels = np.repeat(np.arange(2), counts).astype(np.int32)
    pixels = np.random.default_rng(0).integers(0, 60, (len(labels), 12, 12, 1))
    images = (pixels + 150 * labels[:, None, None, None]).astype(np.uint8)
    for given, outcome in zip((labels, np.roll(labels, 500)), outcomes, strict=True):
        dataset = dataset_from_arrays((images, given))
        finding = check_labels({"train": Sample(dataset, "train")}, 2, classes=True)
        assert finding.outcome == outcome


def test_one_test_image_may_be_a_bright_one(patches):
    train, (images, labels) = patches
    one = np.argmax(images.mean((1, 2, 3)))
    dataset = dataset_from_arrays(train, (images[one : one + 1], labels[one : one + 1]))
    assert not check_splits({split: Sample(dataset, split) for split in dataset.splits}).failed


@pytest.mark.parametrize("command", ["check", "lr-range"])
def test_what_cannot_be_trained_is_refused_as_train_refuses_it(error_of, tmp_path, command):
    flags = f"--config={DIGITS}", "--config.train.microbatches=3"
    said = error_of("train", *flags, f"--workdir={tmp_path / 'run'}")
    assert error_of(command, *flags) == said
    assert "config.train.microbatches=3" in said


def test_inputs_that_are_not_normalised(config, patches):
    none = {"mean": np.zeros(3, np.float32), "std": np.ones(3, np.float32)}
    assert "not normalised" in failures(config, patches, **none)["inputs"]


@pytest.mark.parametrize(("factor", "wrong"), [(1000, "high"), (1e-3, "low")])
def test_a_wrong_learning_rate(config, patches, factor, wrong):
    config.optimizer.learning_rate *= factor
    found = failures(config, patches)
    assert list(found) == ["overfit"]
    assert found["overfit"].startswith(f"the learning rate is too {wrong}: at a learning rate of")


def test_json_has_no_infinite_numbers():
    finding = Finding("one", "failed", "…", {"losses": {"0.1": float("inf"), "1": 2.0}})
    assert finding.to_json()["values"] == {"losses": {"0.1": None, "1": 2.0}}


def test_a_frozen_trunk_with_random_weights(config, patches):
    config.model.head_init = "zeros"
    config.parameters.frozen = ["^(?!head)"]
    found = failures(config, patches)
    assert "are frozen at their random initial values" in found["frozen"]


class Dead(Classifier):
    """A network whose first ReLU never lets anything through."""

    @nn.compact
    def __call__(self, images, train):
        x = nn.Conv(8, (3, 3), bias_init=nn.initializers.constant(-10.0), name="conv")(images)
        return self.head(self.kit(train), nn.relu(x).mean((1, 2)))


def test_dead_units(config, patches):
    register_model("dead_of_this_test")(Dead)
    config.model = {"name": "dead_of_this_test"}
    found = failures(config, patches)
    assert found["activations"].startswith("100% of the units of ")
    assert "are dead" in found["activations"]


def test_channels_in_another_order(config, patches):
    train, (images, labels) = patches
    found = failures(config, (train, (images[..., ::-1], labels)))
    assert found["splits"].startswith("the channels of the test images are in another order: its")
    assert "channels 2, 1, 0 look like" in found["splits"]


def test_test_images_of_another_brightness(patches):
    train, (images, labels) = patches
    dataset = dataset_from_arrays(train, (images // 3, labels))
    finding = check_splits({split: Sample(dataset, split) for split in dataset.splits})
    assert finding.failed
    assert "the test images are brighter or darker by" in finding.verdict


def test_what_flows_through_a_network(rng):
    """Against the network's own layers, captured by Flax."""
    model = create_model("lenet5", num_classes=10, activation="relu", pooling="max")
    images = rng.normal(size=(4, 32, 32, 1)).astype(np.float32)
    variables = model.init(jax.random.key(0), images, train=False)
    found = flow(model, variables, images, jax.random.key(0))
    _, captured = model.apply(
        variables, images, train=True, capture_intermediates=True, mutable=["intermediates"]
    )
    for name in ("c1", "c3", "head"):
        output = captured["intermediates"][name]["__call__"][0]
        assert found.deviation[name] == pytest.approx(float(output.std()), rel=1e-4)
    assert all(0 <= share < 0.5 for share in found.dead.values())
    assert len(found.dead) == 4


def test_the_command(run_cli):
    quick = "--config.model.name=linear", "--examples=8"
    code, out, _ = run_cli("check", f"--config={DIGITS}", *quick)
    assert code == 0
    assert out.rstrip().endswith("9 checks: 9 passed")
    code, out, _ = run_cli("check", f"--config={DIGITS}", *quick, "--config.data.mean=(0.,)", "--json",
                           "--config.data.std=(1.,)")  # fmt: skip
    assert code == 1
    assert {one["check"]: one["outcome"] for one in json.loads(out)}["inputs"] == "failed"
    code, out, err = run_cli("check", f"--config={DIGITS}", "--config.init_from=/nowhere")
    assert (code, out, err.splitlines()[-1]) == (
        1, "", "jaxcnn: error: config.init_from: /nowhere: there is no such directory"
    )  # fmt: skip
    code, _, err = run_cli("check", f"--config={DIGITS}", "--examples=0")
    assert (code, err) == (1, "jaxcnn: error: --examples=0 must be at least 1\n")
