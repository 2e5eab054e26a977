import runpy

import pytest
from ml_collections import ConfigDict

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


# --- resolving ---


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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"optimizer.name": "adam", "optimizer.momentum": "0.9"},
            "config.optimizer.momentum: 'adam' has no such setting; valid: b1, b2, clip_norm, "
            "clip_value, eps, eps_root, learning_rate, ",
        ),
        (
            {"optimizer.name": "adamw", "loss.l2_regularization": "5e-4"},
            "config.loss.l2_regularization=0.0005 and config.optimizer.weight_decay=0.0001 would "
            "both decay the weights; set config.loss.l2_regularization=0 or "
            "config.optimizer.weight_decay=0",
        ),
        (
            {"loss.name": "l2"},
            "config.checkpoint.best_metric='accuracy' must be loss or mae, the metrics that go with "
            "config.loss.name='l2'",
        ),
        (
            {"schedule.name": "reduce_on_plateau", "schedule.metric": "mae"},
            "config.schedule.metric='mae' must be loss or accuracy",
        ),
        (
            {"early_stopping.patience": "3", "early_stopping.metric": "f1"},
            "config.early_stopping.metric='f1' must be loss or accuracy",
        ),
    ],
)
def test_settings_that_do_not_go_together(overrides, message):
    with pytest.raises(UserError) as error:
        resolve(default_config(), overrides)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "setting", "value", "message"),
    [
        ("noisy_sgd", "eta", "-1", "eta=-1.0 must be at least 0"),
        ("adadelta", "rho", "2", "rho=2.0 must be at least 0 and less than 1"),
        ("rprop", "eta_minus", "3", "eta_minus=3.0 must be more than 0 and less than 1"),
        ("prodigy", "betas", "(0.9,)", "betas=(0.9,) must be two numbers"),
        ("prodigy", "estim_lr0", "0", "estim_lr0=0.0 must be more than 0"),
        ("schedule_free_sgd", "b1", "0", "b1=0.0 must be more than 0 and less than 1"),
    ],
)
def test_an_optimizer_s_own_limits(name, setting, value, message):
    with pytest.raises(UserError) as error:
        resolve(default_config(), {"optimizer.name": name, f"optimizer.{setting}": value})
    assert f"config.optimizer.{message}" in str(error.value)


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


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        (
            "trian.duration",
            "1 epochs",
            "config.trian: there is no such setting; did you mean 'train'?",
        ),
        ("train.durations", "1 epochs", "did you mean 'duration'?"),
        ("train", "1", "config.train is a section; set one of: duration, global_batch_size"),
        ("seed.x", "1", "config.seed.x: there is no such setting; config.seed has no parts"),
        (
            "data.augment.7",
            "1",
            "config.data.augment.7: there is no such entry; config.data.augment has no entries",
        ),
        ("seed", "one", "config.seed='one' has the wrong type; it must be a whole number"),
        ("seed", "1.5", "config.seed=1.5 has the wrong type; it must be a whole number"),
        ("seed", "-1", "config.seed=-1 must be at least 0"),
        ("seed", "True", "config.seed=True has the wrong type"),
        (
            "optimizer.learning_rate",
            "fast",
            "config.optimizer.learning_rate='fast' has the wrong type",
        ),
        ("optimizer.learning_rate", "0", "config.optimizer.learning_rate=0.0 must be more than 0"),
        ("optimizer.name", "adamm", "optimizer 'adamm' does not exist; did you mean 'adam'?"),
        (
            "optimizer.b1",
            "0.9",
            "config.optimizer.b1: 'nesterov' has no such setting; valid: clip_norm, clip_value, "
            "learning_rate, lookahead_period, lookahead_step_size, momentum, name",
        ),
        (
            "early_stopping.metric",
            "f1",
            "config.early_stopping.metric='f1' must be loss or accuracy",
        ),
        ("optimizer.clip_norm", "-1", "config.optimizer.clip_norm=-1.0 must be at least 0"),
        ("optimizer.momentum", "1", "config.optimizer.momentum=1.0 must be at least 0 and less"),
        ("loss.name", "l3", "loss 'l3' does not exist; valid: huber, l1, l2, sigm"),
        ("averaging.name", "emma", "averaging 'emma' does not exist; did you mean 'ema'?"),
        ("averaging.decay", "0.9", "config.averaging.decay: 'none' has no such setting"),
        ("train.microbatches", "0", "config.train.microbatches=0 must be at least 1"),
        ("early_stopping.patience", "-1", "config.early_stopping.patience=-1 must be at least 0"),
        ("model.name", "lenet", "model 'lenet' does not exist; did you mean 'lenet5'?"),
        (
            "model.dtype",
            "int8",
            "config.model.dtype='int8' must be one of 'float32', 'bfloat16', 'float64'",
        ),
        ("model.dtype", "float64", "needs the environment variable JAX_ENABLE_X64=1"),
        ("schedule.name", "cosin", "schedule 'cosin' does not exist; did you mean 'cosine'?"),
        ("data.source", "digit", "data source 'digit' does not exist; did you mean 'digits'?"),
        ("data.augment", "[{'name': 'flip'}]", "config.data.augment.0.name: augmentation 'flip'"),
        (
            "data.mix",
            "[{'name': 'mixup', 'alfa': 1}]",
            "config.data.mix.0.alfa: 'mixup' has no such",
        ),
        ("data.augment", "['flip']", "an entry is a dictionary with a 'name'"),
        ("data.augment", "[{'name': 'pad_and_crop', 'pading': 2}]", "did you mean 'padding'?"),
        (
            "data.augment",
            "[{'name': 'pad_and_crop', 'padding': 0}]",
            "padding=0 must be at least 1",
        ),
        ("train.global_batch_size", "-8", "config.train.global_batch_size=-8 must be at least 1"),
        ("train.duration", "0 epochs", "config.train.duration='0 epochs' must be more than 0"),
        ("train.duration", "50%", "cannot be a percentage of it"),
        ("eval.every", "often", "config.eval.every='often' is not a duration"),
        ("loss.label_smoothing", "1", "must be at least 0 and less than 1"),
        ("data.placement", "gpu", "config.data.placement='gpu' must be one of 'host', 'device'"),
        (
            "data.statistics",
            "imagenat",
            "config.data.statistics='imagenat' must be one of 'train', 'imagenet', 'cifar10', 'cifar100'",
        ),
        (
            "checkpoint.best_metric",
            "f1",
            "config.checkpoint.best_metric='f1' must be loss or accuracy or top5_accuracy, the metrics that go with "
            "config.loss.name='softmax_cross_entropy'",
        ),
    ],
)
def test_refused(key, text, message):
    with pytest.raises(UserError) as error:
        resolve(default_config(), {key: text})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.update({"sede": 3}),
            "config.sede: there is no such setting; did you mean 'seed'?",
        ),
        (
            lambda c: c.optimizer.update({"momentm": 0.5}),
            "'nesterov' has no such setting; did you mean",
        ),
        (lambda c: setattr(c, "model", "lenet5"), "config.model='lenet5' is a section"),
    ],
)
def test_refused_in_a_file(change, message):
    config = ConfigDict(default_config().to_dict(), type_safe=False)
    change(config)
    with pytest.raises(UserError) as error:
        resolve(config)
    assert message in str(error.value)


def test_differences_names_each_setting():
    old = resolve(default_config()).to_dict()
    new = resolve(default_config(), {"seed": "4", "model.name": "linear"}).to_dict()
    lines = differences(old, new)
    assert "config.seed: 0 → 4" in lines
    assert "config.model.name: 'lenet5' → 'linear'" in lines
    assert "config.model.pooling: 'avg' → 'unset'" in lines
    assert differences(old, old) == []


# --- files ---


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
