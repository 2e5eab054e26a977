"""A small residual network on a folder of one's own images: the start for a data set of one's own.

    jaxcnn train --config=configs/folder.py --config.data.root=PHOTOS --workdir=runs/photos

PHOTOS holds one folder of .jpg or .png files per class (a tenth of them is then held out as test,
another as validation), or the folders train/, test/ and maybe validation/, each with the classes in
it. What it reaches and how long it takes depend on the images.
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
