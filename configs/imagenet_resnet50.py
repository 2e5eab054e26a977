"""ResNet-50 on ImageNet, 90 epochs, after Goyal et al. 2017, with a cosine schedule instead of steps.

    jaxcnn train --config=configs/imagenet_resnet50.py --workdir=runs/imagenet_resnet50

TFDS_DATA_DIR must contain a prepared imagenet2012 (TFDS documents how to get its archives),
preferably on a local disk: photographs are read from their shards one by one. The config is for
accelerators. The learning rate is 0.1 per 256 images, so 0.4 for a batch of 1,024, which is divided
among the devices. Torchvision's ResNet-50, trained for as long, reaches 76.13% on the 50,000
validation images; this config has not been run to the end yet.
"""

from jaxcnn.config import default_config


def get_config():
    config = default_config()
    config.model.name = "resnet50"
    config.precision = "bfloat16"
    config.data.source = "tfds"
    config.data.name = "imagenet2012"
    config.data.resize = 224
    config.data.central_fraction = 0.875  # 224 of 256 pixels
    config.data.statistics = "imagenet"
    config.data.test_fraction = 0.0  # the labels of the test images are not public
    config.data.augment = [{"name": "random_resized_crop"}, {"name": "horizontal_flip"}]
    config.loss.label_smoothing = 0.1
    config.loss.l2_regularization = 1e-4
    config.optimizer.name = "nesterov"
    config.optimizer.learning_rate = 0.4
    config.schedule.name = "cosine"
    config.schedule.warmup = "5 epochs"
    config.train.duration = "90 epochs"
    config.train.global_batch_size = 1024
    config.eval.global_batch_size = 1000
    config.log.every = "100 steps"
    return config
