"""A small residual network on a folder of your own images.

    jaxcnn train --config=configs/folder.py --config.data.root=PHOTOS --workdir=runs/photos

PHOTOS contains one folder of images per class (a tenth of the images is then held out for test, and
a tenth of the rest for validation), or the folders train/, test/ and optionally validation/, each with
the class folders in it. Accuracy and running time depend on the images.
"""

from jaxcnn.config import default_config


def get_config():
    config = default_config()
    config.model.name = "resnet20_cifar"
    config.data.source = "folder"
    config.data.root = ""
    config.data.resize = 64
    config.data.on_error = "stop"
    config.data.augment = [{"name": "horizontal_flip"}, {"name": "pad_and_crop", "padding": 8}]
    config.optimizer.name = "nesterov"
    config.optimizer.learning_rate = 0.05
    config.loss.l2_regularization = 5e-4
    config.schedule.name = "cosine"
    config.schedule.warmup = "5%"
    config.train.duration = "30 epochs"
    config.train.global_batch_size = 32
    config.eval.global_batch_size = 100
    return config
