"""Eight optimizers on the digits: LeNet-5, 20 epochs, 16 points per optimizer.

    jaxcnn sweep --config=ablations/optimizers_digits --workdir=studies/optimizers_digits
    jaxcnn report studies/optimizers_digits

Takes a quarter of an hour on two CPU cores. The digits are easy: most arms end within one or two of the
360 test images of each other. The arms are therefore ranked by the steps to 95% validation accuracy.
The learning rates cover the ranges in Goodfellow et al. 2016 (§11.4.2) and in the optimizers' papers.
"""

from jaxcnn.compare import Arm, Comparison, LogUniform, Uniform
from jaxcnn.config import load_config_file

LEARNING_RATE = "optimizer.learning_rate"


def get_comparison():
    base = load_config_file("digits_lenet")
    base.train.duration = "20 epochs"
    base.schedule.warmup = "1 epoch"
    base.loss.l2_regularization = 0.0
    base.data.validation_fraction = 0.2
    base.data.placement = "device"
    base.eval.every = "1 epoch"
    base.log.every = "1 epoch"
    base.checkpoint.every = "10 epochs"
    momentum = {"optimizer.momentum": Uniform(0.8, 0.99)}
    return Comparison(
        title="Optimizers on the digits",
        base=base,
        target=0.95,
        select_by="steps_to_target",
        arms={
            "sgd": arm("sgd", LogUniform(1e-3, 1.0)),
            "momentum": arm("momentum", LogUniform(1e-4, 1.0), **momentum),
            "nesterov": arm("nesterov", LogUniform(1e-4, 1.0), **momentum),
            "adagrad": arm("adagrad", LogUniform(1e-4, 1.0)),
            "adadelta": arm("adadelta", LogUniform(1e-2, 10.0)),
            "rmsprop": arm("rmsprop", LogUniform(1e-5, 1e-1)),
            "adam": arm("adam", LogUniform(1e-5, 1e-1)),
            "adamw": arm(
                "adamw",
                LogUniform(1e-5, 1e-1),
                **{"optimizer.weight_decay": LogUniform(1e-4, 1.0)},
            ),
        },
    )


def arm(optimizer, learning_rate, **space):
    return Arm({"optimizer.name": optimizer}, {LEARNING_RATE: learning_rate, **space})
