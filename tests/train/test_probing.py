"""A linear probe: the head is trained on features that are computed once."""

import copy
import logging

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxcnn import load_model
from jaxcnn.config import default_config
from jaxcnn.errors import UserError
from jaxcnn.models.classifier import Classifier
from jaxcnn.models.registry import register_model
from jaxcnn.train import probing
from jaxcnn.train.experiment import resolve
from jaxcnn.train.judge import DivergedError
from jaxcnn.train.saved_run import load_run
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir
from tests.compare.test_pack import packed
from tests.train.runs import assert_same_bits, final_state, preempted, stop_at


def small():
    config = default_config()
    config.data.placement = "device"
    config.model.update({"name": "simple_cnn", "widths": (4, 8), "hidden": 16, "dropout_rate": 0.2})
    config.optimizer.update({"name": "nesterov", "learning_rate": 0.05})
    config.train.update({"duration": "20 steps", "global_batch_size": 32})
    config.eval.every = config.checkpoint.every = "10 steps"
    config.log.every = "5 steps"
    return config


@pytest.fixture(scope="module")
def source(blobs, tmp_path_factory):
    """A run whose weights are taken over."""
    workdir = tmp_path_factory.mktemp("source")
    train(small(), workdir, dataset=blobs)
    return workdir


@pytest.fixture
def probe_config(source):
    config = small()
    config.init_from, config.seed = str(source), 1
    config.transfer.mode = "linear_probe"
    config.reinitialize = ["^head/"]
    return config


class Once:
    """Counts how often features are extracted."""

    def __init__(self, monkeypatch):
        self.count, of_split = 0, probing.outputs_of_split

        def counted(*arguments):
            self.count += 1
            return of_split(*arguments)

        monkeypatch.setattr(probing, "outputs_of_split", counted)


def test_features_change_nothing_but_the_time(probe_config, blobs, tmp_path, monkeypatch):
    """The same as training the head behind a frozen network, as every step computes it."""
    result = train(probe_config, tmp_path / "probe", dataset=blobs)
    monkeypatch.setattr("jaxcnn.train.loop.on_features", lambda config, *parts: parts[:2])
    train(probe_config, tmp_path / "whole", dataset=blobs)
    probe, whole = (final_state(tmp_path / name) for name in ("probe", "whole"))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), probe.params, whole.params
    )
    # A checkpoint is one of the whole network, which evaluates images as any other.
    test = blobs.splits["test"]
    probabilities = load_run(tmp_path / "probe", "latest").predict(test.images)
    of_label = probabilities[np.arange(len(test)), test.labels]
    assert -np.log(of_label).mean() == pytest.approx(result["final"]["test"]["loss"], rel=1e-4)


def test_a_pack_of_probes(probe_config, blobs, tmp_path):
    """Several learning rates in one program, on the features that each run by itself has."""
    configs = [copy.deepcopy(probe_config) for _ in range(2)]
    configs[1].optimizer.learning_rate = 0.01
    together = packed(list(map(resolve, configs)), tmp_path / "pack", blobs, "vmap")
    for directory, config in zip(together, configs, strict=True):
        alone = train(config, tmp_path / f"alone{config.optimizer.learning_rate}", dataset=blobs)
        final = directory.read_result()["final"]
        assert final["test"]["loss"] == pytest.approx(alone["final"]["test"]["loss"], rel=1e-4)


def test_only_the_head_is_trained(probe_config, blobs, source, tmp_path, caplog):
    probe_config.data.placement = "host"
    with caplog.at_level(logging.INFO):
        train(probe_config, tmp_path / "probe", dataset=blobs)
    assert "linear_probe: trains head; no dropout" in caplog.text
    before = load_run(source).variables
    after = final_state(tmp_path / "probe")
    for path, value in flatten_dict(before["params"]).items():
        same = np.array_equal(value, flatten_dict(after.params)[path])
        assert same == (path[0] != "head"), path
    jax.tree.map(np.testing.assert_array_equal, before["batch_stats"], after.batch_stats)


def test_features_are_computed_once(probe_config, blobs, tmp_path, monkeypatch):
    """Another seed, another learning rate and a resumed run find them in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    once = Once(monkeypatch)
    train(probe_config, tmp_path / "whole", dataset=blobs)
    assert once.count == len(blobs.splits)
    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        preempted(probe_config, tmp_path / "cut", dataset=blobs)
    train(probe_config, tmp_path / "cut", dataset=blobs)
    assert_same_bits(final_state(tmp_path / "whole"), final_state(tmp_path / "cut"))
    probe_config.optimizer.learning_rate, probe_config.seed = 0.2, 7
    train(probe_config, tmp_path / "other", dataset=blobs)
    assert once.count == len(blobs.splits)
    probe_config.init_from = str(tmp_path / "other")
    train(probe_config, tmp_path / "the same trunk", dataset=blobs)
    assert once.count == len(blobs.splits)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_from": ""}, "config.transfer.mode='linear_probe' needs config.init_from"),
        ({"data.augment": "[{'name': 'horizontal_flip'}]"},
         "computes the features of each image once, without config.data.augment; "
         "config.transfer.mode='finetune_top' with config.transfer.top=0 trains the head with it"),
        ({"monitor.every": "10 steps"}, "once, without config.monitor.every"),
        ({"transfer.top": "2"}, "config.transfer.top=2 has no effect with config.transfer.mode='linear"),
        ({"transfer.mode": "", "transfer.depth_multiplier": "0.5"},
         "config.transfer.depth_multiplier=0.5 has no effect with config.transfer.mode=''"),
        ({"averaging.name": "ema", "averaging.batch_stats": "reestimated"},
         "config.averaging.batch_stats='reestimated' has no effect with config.transfer.mode='linear_probe', "
         "which keeps the running statistics; set 'running'"),
        ({"transfer.mode": "probe"}, "config.transfer.mode='probe' must be one of"),
    ],
)  # fmt: skip
def test_refusals(changes, message):
    settings = {"init_from": "weights", "transfer.mode": "linear_probe"} | changes
    with pytest.raises(UserError) as error:
        resolve(small(), settings)
    assert message in str(error.value)


def test_a_probe_that_diverges_goes_back(probe_config, blobs, tmp_path):
    probe_config.optimizer.learning_rate = 1e38
    probe_config.train.on_divergence, probe_config.train.max_rollbacks = "rollback", 2
    with pytest.raises(DivergedError):
        train(probe_config, tmp_path / "probe", dataset=blobs)
    lines = Workdir(tmp_path / "probe").read_metrics()
    assert [line["step"] for line in lines if line["split"] == "rollback"] == [0, 0]


def test_another_program_computes_features_anew(probe_config, blobs, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    once = Once(monkeypatch)
    train(probe_config, tmp_path / "before", dataset=blobs)
    extractor = probing.extractor

    def other(*arguments):
        extract = extractor(*arguments)
        return jax.jit(lambda variables, batch: extract(variables, batch) + 0)

    monkeypatch.setattr(probing, "extractor", other)
    train(probe_config, tmp_path / "after", dataset=blobs)
    assert once.count == 2 * len(blobs.splits)


def test_a_network_loaded_from_a_probe_trains_as_any(probe_config, blobs, tmp_path):
    train(probe_config, tmp_path / "probe", dataset=blobs)
    model, variables = load_model(tmp_path / "probe")
    images = np.random.default_rng(0).normal(size=(8, 12, 12, 1)).astype(np.float32)
    _, changed = model.apply(
        variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
    )
    before, after = (flatten_dict(tree["batch_stats"]) for tree in (variables, changed))
    assert not any(np.array_equal(before[path], after[path]) for path in before)


class Doubled(Classifier):
    """A network whose logits are not its head's."""

    @nn.compact
    def __call__(self, images, train):
        x = nn.Dense(4, name="stem")(images.reshape(len(images), -1))
        return 2 * self.head(self.kit(train), self.endpoint("pre_logits", x))


def test_a_head_that_does_more_than_a_matrix_is_refused(probe_config, blobs, tmp_path):
    register_model("doubled")(Doubled)
    probe_config.model = {"name": "doubled"}
    probe_config.init_from, probe_config.transfer.mode = "", ""
    probe_config.reinitialize = []
    train(probe_config, tmp_path / "first", dataset=blobs)
    probe_config.init_from, probe_config.transfer.mode = str(tmp_path / "first"), "linear_probe"
    with pytest.raises(
        UserError, match="logits are not what its layer 'head' makes of its endpoint"
    ):
        train(probe_config, tmp_path / "probe", dataset=blobs)


def test_what_is_reinitialised_must_be_trained(probe_config, source, blobs, tmp_path):
    probe_config.reinitialize = ["^conv2/kernel"]
    with pytest.raises(UserError) as error:
        train(probe_config, tmp_path / "probe", dataset=blobs)
    assert str(error.value) == (
        f"config.init_from='{source}': conv2/kernel is not taken over, and would stay random, as it is "
        "not trained"
    )
    assert not (tmp_path / "probe").exists()
