"""Eight optimizers on Fashion-MNIST: LeNet-5, one epoch, 8 points per optimizer.

    jaxcnn sweep --config=ablations/optimizers_fashion_mnist --workdir=studies/optimizers_fashion_mnist
    jaxcnn report studies/optimizers_fashion_mnist

Takes a quarter of an hour on two CPU cores. With a budget of one epoch, the study asks which optimizer
learns the most from 54,000 images; a longer `train.duration` may give a different answer. The search
spaces are those of optimizers_digits.py.
"""

from jaxcnn.compare import Arm, Comparison, LogUniform, Uniform
from jaxcnn.config import load_config_file


def get_comparison():
    base = load_config_file("fashion_mnist_lenet")
    base.loss.l2_regularization = 0.0
    base.data.augment = []
    base.data.placement = "device"
    base.train.duration = "1 epoch"
    base.schedule.warmup = "5%"
    base.eval.every = base.log.every = "20%"
    base.checkpoint.every = "50%"
    momentum = {"optimizer.momentum": Uniform(0.8, 0.99)}
    decay = {"optimizer.weight_decay": LogUniform(1e-4, 1.0)}
    return Comparison(
        title="Optimizers on Fashion-MNIST, one epoch",
        base=base,
        target=0.85,
        trials=8,
        arms={
            "sgd": arm("sgd", LogUniform(1e-3, 1.0)),
            "momentum": arm("momentum", LogUniform(1e-4, 1.0), **momentum),
            "nesterov": arm("nesterov", LogUniform(1e-4, 1.0), **momentum),
            "adagrad": arm("adagrad", LogUniform(1e-4, 1.0)),
            "adadelta": arm("adadelta", LogUniform(1e-2, 10.0)),
            "rmsprop": arm("rmsprop", LogUniform(1e-5, 1e-1)),
            "adam": arm("adam", LogUniform(1e-5, 1e-1)),
            "adamw": arm("adamw", LogUniform(1e-5, 1e-1), **decay),
        },
    )


def arm(optimizer, learning_rate, **space):
    return Arm({"optimizer.name": optimizer}, {"optimizer.learning_rate": learning_rate, **space})
