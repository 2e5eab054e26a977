"""Resolving: defaults filled in, choices switched, overrides applied, weight decay moved, files that fail."""

import json
import pickle
import runpy

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.config import default_config, differences
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import load_config, resolve
from tests.conftest import ROOT

pytestmark = pytest.mark.fast


def test_every_config_file_resolves(subtests):
    files = sorted((ROOT / "configs").glob("*.py"))
    assert files
    for path in files:
        with subtests.test(path.name):
            config = load_config(path)
            assert config.model.name
            docstring = runpy.run_path(str(path))["__doc__"]
            assert f"--config=configs/{path.name}" in docstring


def test_resolve_fills_in_the_settings_of_what_is_chosen():
    config = default_config()
    config.model.name = "simple_cnn"
    resolved = resolve(config)
    assert resolved.model.hidden == 128
    assert resolved.optimizer.to_dict() == {
        "name": "nesterov",
        "learning_rate": 0.1,
        "momentum": 0.9,
        "clip_norm": 0.0,
        "clip_value": 0.0,
        "lookahead_period": 0,
        "lookahead_step_size": 0.5,
    }


def test_choosing_another_optimizer_drops_the_formers_settings():
    config = default_config()
    config.optimizer.update({"name": "nesterov", "learning_rate": 0.7, "momentum": 0.5})
    resolved = resolve(config, {"optimizer.name": "adam"})
    assert resolved.optimizer.learning_rate == 1e-3
    assert "momentum" not in resolved.optimizer


def test_what_goes_around_the_optimizer_stays_when_it_is_switched():
    overrides = {"optimizer.name": "adam", "optimizer.clip_norm": "1"}
    assert resolve(default_config(), overrides).optimizer.clip_norm == 1.0


def test_choosing_another_source_keeps_what_is_common_to_all():
    config = default_config()
    config.data.update({"source": "tfds", "name": "cifar10", "resize": 16})
    resolved = resolve(config, {"data.source": "digits"})
    assert resolved.data.resize == 16
    assert "name" not in resolved.data


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("seed", "3", 3),
        ("optimizer.learning_rate", "1", 1.0),
        ("optimizer.momentum", "0.8", 0.8),
        ("train.duration", "7 epochs", "7 epochs"),
        ("model.activation", "tanh", "tanh"),
        ("data.mean", "[0.5]", (0.5,)),
        ("data.mean", "(0.5,)", (0.5,)),
        (
            "data.augment",
            "[{'name': 'pad_and_crop'}]",
            [{"name": "pad_and_crop", "probability": 1.0, "padding": 4}],
        ),
    ],
)
def test_override(key, text, value):
    resolved = resolve(default_config(), {key: text}).to_dict()
    for part in key.split("."):
        resolved = resolved[part]
    assert resolved == value
    assert type(resolved) is type(value)


def test_override_inside_a_list():
    config = default_config()
    config.data.augment = [{"name": "horizontal_flip"}, {"name": "pad_and_crop"}]
    resolved = resolve(config, {"data.augment.1.padding": "2"})
    expected = {"name": "pad_and_crop", "probability": 1.0, "padding": 2}
    assert resolved.to_dict()["data"]["augment"][1] == expected


def test_differences_names_each_setting():
    old = resolve(default_config()).to_dict()
    new = resolve(default_config(), {"seed": "4", "model.name": "linear"}).to_dict()
    lines = differences(old, new)
    assert "config.seed: 0 → 4" in lines
    assert "config.model.name: 'lenet5' → 'linear'" in lines
    assert "config.model.pooling: 'avg' → 'unset'" in lines
    assert differences(old, old) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", "line 1: SyntaxError"),
        ("import nothing_of_that_name", "line 1: ModuleNotFoundError"),
        ("x = 1", "it defines no get_config()"),
        (
            "from jaxcnn.config import default_config\n"
            "def get_config():\n    c = default_config()\n    c.trian.duration = '1 epoch'\n",
            "line 4: AttributeError",
        ),
        (
            "from jaxcnn.config import default_config\n"
            "def get_config():\n    c = default_config()\n    c.seed = 'one'\n    return c\n",
            "line 4: TypeError",
        ),
    ],
)
def test_a_config_file_that_fails_is_one_line(tmp_path, text, message):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_config(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_config_file_suggests_its_neighbours(tmp_path):
    (tmp_path / "digits_lenet.py").touch()
    with pytest.raises(UserError, match=r"did you mean '.*digits_lenet\.py'"):
        load_config(tmp_path / "digit_lenet.py")


@pytest.mark.parametrize("name", ["adamw", "lion", "nadamw", "adamaxw", "sophia"])
def test_an_optimizer_that_decays_takes_over_the_strength_of_the_l2_penalty(name, caplog):
    """A loop over optimizers does not stop at AdamW; chosen by a flag or in Python."""
    l2 = load_config("digits_lenet").loss.l2_regularization
    assert l2 > 0
    changed = load_config("digits_lenet")
    changed.optimizer.name = name
    ways = (
        lambda: load_config("digits_lenet", {"optimizer.name": name}),
        lambda: resolve(changed),
    )
    for way in ways:
        config = way()
        assert config.optimizer.weight_decay == l2
        assert config.loss.l2_regularization == 0
        assert f"becomes config.optimizer.weight_decay: {name} decays" in caplog.text
        caplog.clear()
        assert resolve(config).to_dict() == config.to_dict()
        assert not caplog.text  # said once


def test_a_decay_that_is_asked_for_is_not_overwritten():
    chosen = {"optimizer.name": "adamw", "optimizer.weight_decay": "0.01"}
    with pytest.raises(UserError, match="would both decay the weights"):
        load_config("digits_lenet", chosen)
    config = load_config("digits_lenet", {**chosen, "loss.l2_regularization": "0"})
    assert config.optimizer.weight_decay == 0.01
    kept = load_config("digits_lenet", {"optimizer.name": "adam"})  # it has none by default
    assert kept.loss.l2_regularization == load_config("digits_lenet").loss.l2_regularization


def test_the_strength_of_decay_survives_a_change_and_a_change_back():
    """Optimizers one after another on one config, resolved each time: the strength stays."""
    l2 = load_config("digits_lenet").loss.l2_regularization
    config = load_config("digits_lenet")
    for name in ("adamw", "adam", "nadamw", "adamw", "sgd", "lion"):
        config.optimizer.name = name
        config = pickle.loads(pickle.dumps(resolve(config)))
        strengths = config.loss.l2_regularization, config.optimizer.get("weight_decay", 0.0)
        decays = name in ("adamw", "nadamw", "lion")
        assert strengths == ((0, l2) if decays else (l2, 0))
    config.loss.l2_regularization = 0.5  # asked for: it does not come back by itself
    config.optimizer.name = "adam"
    assert resolve(config).loss.l2_regularization == 0.5


def test_values_of_numpy_jax_and_paths_can_be_assigned(tmp_path):
    config = load_config("digits_lenet")
    config.seed = np.int64(3)
    config.optimizer.learning_rate = jnp.float32(0.25)
    config.loss.label_smoothing = np.array(0.125)
    config.data.mean, config.data.std = np.array([100.0]), np.array([50.0])
    config.init_from = tmp_path
    config.parameters.learning_rates = [{"pattern": "head", "multiplier": np.float32(2)}]
    found = resolve(config)
    assert (found.seed, found.optimizer.learning_rate, found.loss.label_smoothing) == (
        3,
        0.25,
        0.125,
    )
    assert (found.data.mean, found.init_from) == ((100.0,), str(tmp_path))
    assert found.parameters.learning_rates[0]["multiplier"] == 2
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("config", ["digits_lenet", {"seed": 1}, None, 5])
def test_what_is_no_config_is_said(config):
    with pytest.raises(
        UserError, match=r"must be a config, from load_config\(…\) or default_config"
    ):
        resolve(config)
    with pytest.raises(UserError, match="overrides: 5 must be a dotted key"):
        resolve(load_config("digits_lenet"), {5: "3"})
