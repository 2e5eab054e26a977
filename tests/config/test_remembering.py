"""A resolved config that is changed in Python means what the command line means."""

import copy
import pickle

import pytest
from ml_collections import ConfigDict

from jaxcnn import load_config
from jaxcnn.config import default_config
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve

pytestmark = pytest.mark.fast

# For each section: its key, two choices, and a setting that both have.
SECTIONS = {
    "model": ("name", "resnet20_cifar", "resnet56_cifar", "width", 8),
    "data": ("source", "idx", "folder", "root", "images"),
    "loss": ("name", "softmax_cross_entropy", "sigmoid_cross_entropy", "label_smoothing", 0.1),
    "optimizer": ("name", "adam", "nadam", "b1", 0.8),
    "schedule": ("name", "cosine", "linear", "final", 0.5),
    "averaging": ("name", "ema", "swa", "batch_stats", "running"),
}


def resolved(section, **settings):
    config = default_config()
    config[section].update(settings)
    return resolve(config)


@pytest.mark.parametrize("section", SECTIONS)
def test_another_choice_drops_the_former_s_settings(section):
    key, first, second, setting, value = SECTIONS[section]
    config = resolved(section, **{key: first, setting: value})
    on_command_line = resolve(config, {f"{section}.{key}": second})
    config[section][key] = second
    again = resolve(config)
    assert again.to_dict() == on_command_line.to_dict()
    assert again[section][setting] != value


@pytest.mark.parametrize("section", SECTIONS)
def test_what_is_set_afterwards_is_meant_for_the_new_choice(section):
    """Even where it is set to the value that it had."""
    key, first, second, setting, value = SECTIONS[section]
    config = resolved(section, **{key: first, setting: value})
    config[section][key] = second
    config[section][setting] = value
    assert resolve(config)[section][setting] == value


@pytest.mark.parametrize("section", SECTIONS)
def test_the_former_choice_brings_its_settings_back(section):
    key, first, second, setting, value = SECTIONS[section]
    config = resolved(section, **{key: first, setting: value})
    before = config.to_dict()
    config[section][key] = second
    config[section][key] = first
    assert resolve(config).to_dict() == before


def test_the_network_that_is_named_is_the_one_that_is_trained():
    config = load_config("cifar10_resnet20")
    config.model.name = "resnet56_cifar"
    assert resolve(config).model.stage_sizes == (9, 9, 9)
    config.optimizer.name = "nadam"
    assert "momentum" not in resolve(config).optimizer
    config.optimizer.beta = 0.5
    with pytest.raises(UserError, match="'nadam' has no such setting"):
        resolve(config)


@pytest.mark.parametrize(("key", "other"), [("augment", "pad_and_crop"), ("mix", "cutmix")])
def test_the_entries_of_lists_remember_too(key, other):
    config = default_config()
    config.data.augment = [{"name": "cutout", "size": 3, "probability": 0.4}]
    config.data.mix = [{"name": "mixup", "alpha": 0.7, "probability": 0.4}]
    config = resolve(config)
    config.data[key][0]["name"] = other
    again = resolve(config).data[key][0]
    assert (again["name"], again["probability"]) == (other, 1.0)  # of the new one's defaults
    config.data[key][0].update(probability=0.4)
    assert resolve(config).data[key][0]["probability"] == 0.4


@pytest.mark.parametrize(
    "copied",
    [
        ConfigDict,
        copy.deepcopy,
        lambda config: config.copy_and_resolve_references(),
        lambda config: pickle.loads(pickle.dumps(config)),
    ],
)
def test_copies_remember(copied):
    config = default_config()
    config.data.augment = [{"name": "cutout", "size": 3}]
    config.optimizer.name = "adam"
    config = copied(resolve(config))
    config.optimizer.name = "momentum"
    config.data.augment[0]["name"] = "horizontal_flip"
    again = resolve(config)
    assert "b1" not in again.optimizer
    assert again.optimizer.learning_rate == 0.1
    assert "size" not in again.data.augment[0]


def test_a_section_may_be_replaced():
    config = resolve(default_config())
    config.model = ConfigDict({"name": "linear"})
    assert resolve(config).model.name == "linear"
    config.model = {"name": "mlp", "widths": (8,)}
    assert resolve(config).model.widths == (8,)
