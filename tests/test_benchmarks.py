"""The benchmarks run, in small, and their contestants train the network that they say."""

import argparse
import json
import math
import sys

import jax
import pytest

from benchmarks import ahead_of_time, loop, measure, train_step, very_deep
from benchmarks.contestants import with_flax
from jaxcnn.diagnose.programs import Needs, Traffic
from jaxcnn.diagnose.tpus import Topology
from jaxcnn.models import PUBLISHED_FOR, count_parameters, create_model


@pytest.mark.parametrize("name", with_flax.MODELS)
def test_plain_flax_has_the_same_network(name):
    shape, classes = PUBLISHED_FOR[name]
    images = jax.ShapeDtypeStruct((1, *shape), "float32")
    model = with_flax.MODELS[name]()
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
    assert count == count_parameters(create_model(name, num_classes=classes), shape)


def test_train_step(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(train_step, "SECONDS_PER_TURN", 0.05)
    monkeypatch.setattr(train_step, "contestants", lambda model: ["jaxcnn", "flax"])
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    command = ["train_step.py", "--models", "lenet5", "--batch-size=8", "--processes=2"]
    monkeypatch.setattr(sys, "argv", command)
    train_step.main()
    assert "lenet5, batch 8: 1.2 M multiply-adds" in capsys.readouterr().out
    (written,) = tmp_path.glob("train_step_lenet5_float32_*.json")
    rows = json.loads(written.read_text())["contestants"]
    assert rows.keys() == {"jaxcnn", "flax"}
    assert rows["jaxcnn"]["jaxcnn_is_faster_by"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert 0 < rows["flax"]["fraction_of_peak"] < 1


def test_ahead_of_time_keeps_the_row_of_the_other(monkeypatch, tmp_path, capsys):
    """What the compiler says is made up here; `make test-tpu` asks it."""
    sizes = {"arguments": 1, "outputs": 1, "temporaries": 4, "peak": 1, "total": 6}

    def needs(gigabytes):
        traffic = {"all-reduce": Traffic(3, 10**6)}
        return lambda *_: Needs(1e12, gigabytes * 1e9, **sizes, collectives=traffic)

    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(ahead_of_time, "version", lambda package: "1.0")
    monkeypatch.setattr(ahead_of_time, "CONTESTANTS", {"jaxcnn": needs(9), "flax": needs(10)})
    for contestant in ("flax", "jaxcnn"):
        ahead_of_time.compare("resnet18", 512, Topology.of("v5e:2x2"), [contestant])
    out = capsys.readouterr().out
    assert "bytes_accessed: 0.900× plain Flax's" in out
    assert "3 all-reduce of 1.0 MB" in out
    (written,) = tmp_path.iterdir()
    assert written.name == "ahead_of_time_resnet18_v5e_2x2.json"
    rows = json.loads(written.read_text())["per_chip"]
    assert {name: row["bytes_accessed"] for name, row in rows.items()} == {
        "flax": 1e10,
        "jaxcnn": 9e9,
    }


def test_rounds_of_the_loop(monkeypatch):
    monkeypatch.setitem(loop.MODELS, "resnet20_cifar", {"name": "lenet5"})
    arguments = argparse.Namespace(model="resnet20_cifar", dtype="float32", batch_size=8, steps=2)
    images, labels = measure.random_batch((32, 32, 3), 16)
    contestants = loop.own_contestants(arguments, images, labels)
    assert list(contestants) == ["bare", "host", "device"]
    assert all(round_of() > 0 for round_of in contestants.values())


def test_steps_of_a_deep_network():
    assert very_deep.take_steps("resnet20_cifar", remat=False)["step_seconds"] > 0
