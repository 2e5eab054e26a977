"""A resolved config that is changed in Python means what the command line means."""

import copy
import pickle

import pytest
from ml_collections import ConfigDict

from jaxcnn import load_config
from jaxcnn.config import default_config
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve
from jaxcnn.train.observers import OBSERVERS

pytestmark = pytest.mark.fast

# For each section: its key, two choices, and a setting that both have.
SECTIONS = {
    "model": ("name", "resnet20_cifar", "resnet56_cifar", "width", 8),
    "data": ("source", "idx", "folder", "root", "/images"),
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


def watcher(project="x", rate=0.5):
    """An observer of this test."""


def other_watcher(project="y", rate=1.0, depth=1):
    """Another."""


@pytest.fixture
def observers(monkeypatch):
    """Two observers with a setting in common."""
    monkeypatch.setattr(OBSERVERS, "_constructors", dict(OBSERVERS._constructors))
    OBSERVERS.register("watcher", watcher)
    OBSERVERS.register("other_watcher", other_watcher)


# For each list: an entry, another one's name, and a setting of both, of another value than its default.
ENTRIES = {
    "data.augment": ({"name": "cutout", "size": 3, "probability": 0.4}, "pad_and_crop", "probability"),
    "data.mix": ({"name": "mixup", "alpha": 0.7, "probability": 0.4}, "cutmix", "probability"),
    "observers": ({"name": "watcher", "project": "z", "rate": 0.4}, "other_watcher", "rate"),
}  # fmt: skip


def with_entry(dotted, entry):
    config = default_config()
    config.update_from_flattened_dict({dotted: [dict(entry)]})
    return resolve(config)


def entry_of(config, dotted):
    for key in dotted.split("."):
        config = config[key]
    return config[0]


@pytest.mark.parametrize("dotted", ENTRIES)
def test_the_entries_of_lists_remember_too(dotted, observers):
    entry, other, setting = ENTRIES[dotted]
    config = with_entry(dotted, entry)
    before = dict(entry_of(config, dotted))
    entry_of(config, dotted)["name"] = other
    again = entry_of(resolve(config), dotted)
    assert (again["name"], again[setting]) == (other, 1.0)  # of the new one's defaults
    on_command_line = resolve(with_entry(dotted, entry), {f"{dotted}.0.name": other})
    assert again == entry_of(on_command_line, dotted)
    entry_of(config, dotted)["name"] = entry["name"]
    assert entry_of(resolve(config), dotted) == before
    entry_of(config, dotted).update({"name": other, setting: 0.4})
    assert entry_of(resolve(config), dotted)[setting] == 0.4


@pytest.mark.parametrize("dotted", ENTRIES)
def test_an_entry_s_setting_that_the_new_choice_lacks_is_refused(dotted, observers):
    entry, other, _ = ENTRIES[dotted]
    config = with_entry(dotted, entry)
    entry_of(config, dotted).update(name=other, sharpness=1.0)
    with pytest.raises(
        UserError, match=f"config.{dotted}.0.sharpness: '{other}' has no such setti"
    ):
        resolve(config)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.__setitem__("depth", 3),
        lambda entry: entry.update(depth=3),
        lambda entry: entry.update([("depth", 3)]),
        lambda entry: entry.setdefault("depth", 3),
        lambda entry: entry.__ior__({"depth": 3}),
    ],
)
def test_every_way_to_set_an_entry_s_setting_counts(change, observers):
    config = with_entry("observers", ENTRIES["observers"][0])
    config.observers[0]["name"] = "other_watcher"
    change(config.observers[0])
    assert resolve(config).observers == [
        {"name": "other_watcher", "project": "y", "rate": 1.0, "depth": 3}
    ]


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda entry: entry.copy(), lambda entry: entry | {}]
)
def test_copies_of_an_entry_remember(copied, observers):
    config = with_entry("observers", ENTRIES["observers"][0])
    config.observers = [copied(config.observers[0])]
    config.observers[0]["name"] = "other_watcher"
    assert resolve(config).observers[0]["project"] == "y"


def test_the_command_line_chooses_an_entry_and_sets_it_in_any_order(observers):
    config = with_entry("observers", ENTRIES["observers"][0])
    overrides = {"observers.0.depth": "5", "observers.0.name": "other_watcher"}
    for given in (overrides, dict(reversed(overrides.items()))):
        assert resolve(config, given).observers == [
            {"name": "other_watcher", "project": "y", "rate": 1.0, "depth": 5}
        ]
    assert resolve(config).observers[0]["name"] == "watcher"  # the given config is left as it was
    replaced = {"observers.0.rate": "0.25", "observers": "[{'name': 'watcher'}]"}
    assert resolve(config, replaced).observers[0]["rate"] == 0.25


def test_a_resolved_config_equals_a_plain_one_of_the_same_settings():
    config = resolve(default_config())
    plain = ConfigDict(config.to_dict())
    assert config == plain
    assert plain == config
    assert config.optimizer == plain.optimizer
    plain.optimizer.momentum = 0.5
    assert config != plain
    assert plain != config


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
