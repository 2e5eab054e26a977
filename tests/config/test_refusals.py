"""Settings that resolving refuses, and the message of each."""

import pytest
from ml_collections import ConfigDict

from jaxcnn.config import default_config
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve

pytestmark = pytest.mark.fast


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
        (
            {"data.resize": "100000"},
            "config.data.resize=100000 must be at least 0 and at most 10000",
        ),
        (
            {"data.resize": str(10**12)},
            "config.data.resize=1000000000000 must be at least 0 and at most 10000",
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
        ("loss.name", "l3", "loss 'l3' does not exist; valid: focal, huber, l1, l2"),
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
        (
            "data.placement",
            "gpu",
            "config.data.placement='gpu' must be one of 'host', 'device', 'device_sharded'",
        ),
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
