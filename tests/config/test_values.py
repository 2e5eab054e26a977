"""Values that come from Python and from flags: brought to a setting's type, or refused in one line."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict, FrozenConfigDict

from jaxcnn import default_config, load_config
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve

pytestmark = pytest.mark.fast


def set_in_python(dotted: str, value):
    """What a setting is once a config in which it was set is resolved."""
    config = default_config()
    section, _, key = dotted.rpartition(".")
    part = config[section] if section else config
    with part.ignore_type():
        part[key] = value
    resolved = resolve(config)
    return (resolved[section] if section else resolved)[key]


def overridden(dotted: str, value):
    section, _, key = dotted.rpartition(".")
    config = load_config("digits_lenet", {dotted: value})
    return (config[section] if section else config)[key]


@pytest.mark.parametrize("given", [set_in_python, overridden])
@pytest.mark.parametrize(
    ("dotted", "value", "meant"),
    [
        ("optimizer.learning_rate", np.float64(0.1), 0.1),
        ("optimizer.learning_rate", np.float32(0.5), 0.5),
        ("optimizer.learning_rate", 1, 1.0),
        ("optimizer.learning_rate", np.array(0.25), 0.25),
        ("seed", np.int64(3), 3),
        ("seed", np.uint8(3), 3),
        ("seed", 3.0, 3),
        ("data.resize", np.float64(64), 64),
        ("data.mean", np.array([0.5]), (0.5,)),
        ("data.mean", [np.float32(0.5)], (0.5,)),
        ("init_from", Path("/weights/resnet20"), "/weights/resnet20"),
        ("parameters.frozen", ("head",), ["head"]),
        ("parameters.frozen", np.array(["head"]), ["head"]),
        ("data.augment", [ConfigDict({"name": "cutout", "size": 4})], None),
        ("data.augment", (FrozenConfigDict({"name": "cutout", "size": np.int32(4)}),), None),
    ],
)  # fmt: skip
def test_pythons_values_are_welcome(given, dotted, value, meant):
    result = given(dotted, value)
    if meant is None:
        meant = [{"name": "cutout", "probability": 1.0, "size": 4}]
    assert type(result) is type(meant)
    assert json.dumps(result) == json.dumps(meant)  # of JSON's types alone


@pytest.mark.parametrize("value", [True, False, np.True_, "true", "False"])
def test_true_and_false(value):
    config = load_config("digits_lenet", {"optimizer.name": "rmsprop", "optimizer.centered": value})
    assert config.optimizer.centered is (str(value).lower() == "true")


@pytest.mark.parametrize("given", [set_in_python, overridden])
@pytest.mark.parametrize(
    ("dotted", "value", "message"),
    [
        ("model.name", 5, "config.model.name=5 has the wrong type; it must be text"),
        ("loss.name", 5, "config.loss.name=5 has the wrong type; it must be text"),
        ("optimizer.name", None, "config.optimizer.name=None has the wrong type; it must be text"),
        ("data.source", 1.5, "config.data.source=1.5 has the wrong type; it must be text"),
        ("averaging.name", ["ema"], "config.averaging.name=['ema'] has the wrong type"),
        ("schedule.name", {}, "config.schedule.name={} has the wrong type; it must be text"),
        ("data.augment", [{"name": 5}], "config.data.augment.0={'name': 5}: an entry is"),
        ("data.augment", [5], "config.data.augment.0=5: an entry is a dictionary with a 'name'"),
        ("seed", True, "config.seed=True has the wrong type; it must be a whole number"),
        ("seed", np.True_, "config.seed=True has the wrong type; it must be a whole number"),
        ("seed", 10**400, "config.seed=1000"),
        ("train.global_batch_size", 2**63, "has the wrong type; it must be a whole number"),
        ("optimizer.learning_rate", float("nan"), "config.optimizer.learning_rate=nan has"),
        ("optimizer.learning_rate", 1j, "config.optimizer.learning_rate=1j has the wrong type"),
        ("train.duration", 5, "config.train.duration=5 has the wrong type; it must be text"),
        ("init_from", b"weights", "config.init_from=b'weights' has the wrong type"),
        ("init_from", "gs://bucket/weights", "hf://OWNER/REPO@REVISION; no other URL is read"),
        ("init_from", "hf://ada", "must be a path of the file system, hf://OWNER/REPO or hf"),
        ("init_from", "hf://ada/net/a.bin", "must be a path of the file system, hf://OWNER/REPO or"),
    ],
)  # fmt: skip
def test_others_are_one_short_line(given, dotted, value, message):
    with pytest.raises(UserError) as raised:
        given(dotted, value)
    line = str(raised.value)
    assert message in line
    assert "\n" not in line
    assert len(line) < 250


@pytest.mark.parametrize(
    ("dotted", "text"),
    [
        ("optimizer.learning_rate", "1e400"),
        ("optimizer.learning_rate", "9" * 400),
        ("seed", "9" * 400),
        ("seed", "9" * 5000),
        ("parameters.frozen", "(" * 3000),
        ("parameters.frozen", "[" * 100_000),
    ],
)
def test_texts_that_are_no_numbers(dotted, text):
    with pytest.raises(UserError, match="has the wrong type; it must be a") as raised:
        load_config("digits_lenet", {dotted: text})
    assert len(str(raised.value)) < 200


def test_entries_of_lists_and_tuples_by_number():
    """--config.model.widths.0=48"""
    of_lists = {
        "model.name": "mlp", "model.widths": "(64, 32)", "model.widths.1": "48",
        "data.augment": "[{'name': 'cutout'}]", "data.augment.0.size": "5",
    }  # fmt: skip
    config = load_config("digits_lenet", of_lists)
    assert config.model.widths == (64, 48)
    assert config.data.augment[0]["size"] == 5
    wrong = {
        "model.widths.2": "there is no such entry; config.model.widths has entries 0 to 1",
        "model.widths.first": "there is no such entry; config.model.widths has entries 0 to 1",
        "data.mix.0.name": "there is no such entry; config.data.mix has no entries",
        "seed.0": "there is no such setting; config.seed has no parts",
        "optimizer": "config.optimizer is a section; set one of: clip_norm, clip_value,",
    }
    for dotted, message in wrong.items():
        with pytest.raises(UserError, match=message):
            load_config("digits_lenet", {**of_lists, dotted: "1"})


def test_paths_are_absolute_and_know_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    assert overridden("init_from", "weights") == os.path.join(os.getcwd(), "weights")
    assert overridden("init_from", "~/weights") == "/home/ada/weights"
    assert overridden("init_from", "") == ""
    assert overridden("init_from", "hf://ada/net@v1.0") == "hf://ada/net@v1.0"
