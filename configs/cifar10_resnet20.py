"""ResNet-20 on CIFAR-10, after He et al. 2016 §4.2, with a cosine schedule instead of its steps.

    jaxcnn train --config=configs/cifar10_resnet20.py --workdir=runs/cifar10_resnet20

The paper reports 91.25% on the test images with its own schedule over 64,000 steps; this config has
not been run to the end yet. It is meant for an accelerator: at the 385 images/s that two CPU cores
reach (docs/performance.md), it would take 6 hours.
"""

from jaxcnn.config import default_config


def get_config():
    config = default_config()
    config.model.name = "resnet20_cifar"
    config.data.source = "tfds"
    config.data.name = "cifar10"
    config.data.augment = [{"name": "pad_and_crop", "padding": 4}, {"name": "horizontal_flip"}]
    config.optimizer.name = "nesterov"
    config.optimizer.learning_rate = 0.1
    config.loss.l2_regularization = 1e-4
    config.schedule.name = "cosine"
    config.schedule.warmup = "1 epoch"
    config.train.duration = "64000 steps"
    config.train.global_batch_size = 128
    config.log.every = "100 steps"
    return config
