"""Batch, layer, instance, group and no normalisation at batch sizes 128 and 16 on CIFAR-10.

    jaxcnn sweep --config=ablations/normalization_cifar10 --workdir=studies/normalization_cifar10
    jaxcnn report studies/normalization_cifar10

The network is small and a run has 20,000 images, so the study takes a quarter of an hour on two CPU
cores. On an accelerator, train longer: `"--config.train.duration=20 epochs"`. Wu and He 2018 ("Group
normalization") compare normalisations across batch sizes for ResNet-50 on ImageNet.
"""

from jaxcnn.compare import Arm, Comparison, LogUniform
from jaxcnn.config import load_config_file

NORMS = ("batch", "layer", "instance", "group", "none")
BATCHES = (128, 16)


def get_comparison():
    base = load_config_file("cifar10_resnet20")
    base.model = {"name": "simple_cnn", "widths": (16, 32), "hidden": 64, "norm_groups": 8}
    base.loss.l2_regularization = 0.0
    base.data.augment = []
    base.data.placement = "device"
    base.train.duration = "20000 examples"
    base.schedule.warmup = "5%"
    base.eval.every = base.log.every = "25%"
    base.checkpoint.every = "50%"
    space = {"optimizer.learning_rate": LogUniform(1e-3, 1.0)}
    return Comparison(
        title="Normalisation and batch size on CIFAR-10",
        base=base,
        target=0.45,
        trials=4,
        arms={
            f"{norm}-{size}": Arm({"model.norm": norm, "train.global_batch_size": size}, space)
            for size in BATCHES
            for norm in NORMS
        },
    )
