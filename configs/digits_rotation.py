"""Regression on scikit-learn's digits: by how many degrees a digit is turned.

jaxcnn train --config=configs/digits_rotation.py --workdir=runs/digits_rotation

Reaches a mean absolute error of 1.75° (seed 0) on 360 test digits, each turned ten times by up to
±45°, in a minute on two CPU cores. No test digit appears among the training digits, at any angle.
The handwriting is not the only cue: the directions of the original 8×8 grid are visible in the
interpolated pixels.
"""

from jaxcnn.config import default_config


def get_config():
    config = default_config()
    config.model.name = "simple_cnn"
    config.model.widths = (32, 64, 64)
    config.data.source = "rotated_digits"
    config.loss.name = "huber"
    config.loss.delta = 0.2  # in standard deviations of the angles
    config.optimizer.name = "nesterov"
    config.optimizer.learning_rate = 0.05
    config.schedule.name = "cosine"
    config.schedule.warmup = "5%"
    config.train.duration = "8 epochs"
    config.train.global_batch_size = 128
    config.log.every = "20 steps"
    config.checkpoint.best_metric = "mae"
    return config
