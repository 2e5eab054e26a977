"""The settings common to all runs, and their defaults."""

import copy

from ml_collections import ConfigDict

from jaxcnn.limits import (
    AT_LEAST_0,
    AT_LEAST_1,
    FRACTION,
    PATH_OR_HUB,
    POSITIVE,
    SEED,
    SEED_OR_AS_THE_RUN,
    UP_TO_1,
    between,
    one_of,
)

_DEFAULTS = {
    "seed": 0,  # for initialisation, dropout and mixing, and for the data if data.seed is -1
    "imports": (),  # your modules that register models, optimizers, …
    # Weights to start from: the directory of a converted model or a run, or hf://OWNER/REPO.
    "init_from": "",
    "reinitialize": [],  # regexes of parameters not to take from init_from
    # Of parameters, optimizer state and averages over the devices: 'replicated', a copy on each; or
    # 'fsdp', a part of each large array on each.
    "sharding": "replicated",
    # Of the network: 'float32'; 'tensorfloat32', where a GPU has it; or 'bfloat16', with parameters,
    # statistics, logits and loss in float32. '': as model.dtype, and float32 is float32 everywhere.
    "precision": "",
    "deterministic": True,  # on a GPU: only operations that repeat their bits
    # When a run is resumed on other devices, cores or versions, which may change its bits: 'warn', or
    # 'strict', to refuse.
    "reproducible": "warn",
    # Of a network that starts from init_from. Its parts, by depth, are named as in `jaxcnn features`:
    # stem, stage1, …, head.
    "transfer": {
        # What is trained. 'linear_probe': the head, on features that are computed once; 'finetune_top':
        # the head and the last `top` parts before it; 'finetune': all; '': all, as without init_from.
        "mode": "",
        "top": 1,
        "depth_multiplier": 1.0,  # a part's learning rate, relative to that of the part after it
        "frozen_statistics": [],  # regexes of batch normalisations that keep their running statistics
    },
    "model": {"name": "lenet5"},
    "data": {
        "source": "digits",
        "seed": -1,  # for order and augmentation; -1: the run's seed
        "resize": 0,  # images are scaled to resize × resize pixels; 0: unchanged
        "grey_to_colour": False,  # grey images get three equal channels
        # Held out from the training images, at random by split_seed, if the source has no such split.
        "validation_fraction": 0.1,
        "test_fraction": 0.1,
        "split_seed": 0,
        "stratified": False,  # the same share of each class is held out
        # Per channel: 'train', computed from that split; 'imagenet', 'cifar10' or 'cifar100';
        # or mean and std, for pixels in [0, 1].
        "statistics": "train",
        "mean": (),
        "std": (),
        # Where training batches are assembled: 'host'; 'device', with all the data in the memory of
        # each; or 'device_sharded', with a share of the images in the memory of each.
        "placement": "host",
        # Lists of {"name": …, **settings}, for training only: augmentations, applied in order, and
        # mixes of a batch's images and labels, one of which is chosen for each batch.
        "augment": [],
        "mix": [],
    },
    "loss": {
        "name": "softmax_cross_entropy",
        "l2_regularization": 0.0,
        # How often an example of each class counts in training, in the order of the classes; or, if
        # balanced, inversely to the size of its class: images / (classes · images of the class).
        "class_weights": (),
        "balanced": False,
    },
    "optimizer": {
        "name": "nesterov",
        "clip_norm": 0.0,  # maximum norm of the gradient; 0: no clipping
        "clip_value": 0.0,  # maximum magnitude of each gradient entry; 0: no clipping
        "lookahead_period": 0,  # steps between updates of the slow weights; 0: no Lookahead
        "lookahead_step_size": 0.5,
    },
    "schedule": {"name": "cosine", "warmup": "0 steps"},
    "parameters": {  # regexes of parameters' paths, such as stage1_block1/conv1/kernel
        "decayed": ["(^|/)kernel$"],  # by weight decay or loss.l2_regularization
        "frozen": [],
        "learning_rates": [],  # a list of {"pattern": …, "multiplier": …}
    },
    "averaging": {"name": "none"},  # weight averaging, for evaluation
    "train": {
        "duration": "10 epochs",
        "global_batch_size": 128,
        "microbatches": 1,  # parts of a batch, processed one after the other
        # When the loss or the weights become NaN or infinite: 'stop', or 'rollback', to the newest
        # checkpoint with half the learning rate, at most max_rollbacks times.
        "on_divergence": "stop",
        "max_rollbacks": 3,
    },
    "eval": {"every": "1 epoch", "global_batch_size": 500},
    "early_stopping": {
        "patience": 0,  # evaluations without improvement before the run stops; 0: never stops early
        "metric": "loss",
        "min_delta": 0.0,  # the smallest change that counts as an improvement
    },
    "log": {"every": "1 epoch"},
    "checkpoint": {
        "every": "1 epoch",
        "best_metric": "accuracy",
        "snapshots": 0,  # of the last troughs of a cyclic schedule, kept for an ensemble
    },
    "observers": [],  # a list of {"name": …, **settings}
    # Norms of each parameter, its gradient and its update, and the dead units of each ReLU; with
    # histograms in TensorBoard, if asked for.
    "monitor": {"every": "0 steps", "histograms": False},  # 0: never
    "processes": {
        # Of several, all end once they have waited for one of them for so many seconds.
        "stuck_after": 1800.0,
    },
}


def default_config() -> ConfigDict:
    """The settings common to all runs; config files start from these and change them.

    The sections in `CHOICE_KEYS` also accept the settings of the entry that they choose; `jaxcnn
    models`, `jaxcnn optimizers` and `jaxcnn schedules` list them.
    """
    return ConfigDict(copy.deepcopy(_DEFAULTS))


def data_seed(config: ConfigDict) -> int:
    """The seed for the order of the images and their augmentation."""
    return config.seed if config.data.seed == -1 else config.data.seed


# The sections that choose an entry of a registry, and the key of the choice.
CHOICE_KEYS = {
    "model": "name",
    "data": "source",
    "loss": "name",
    "optimizer": "name",
    "schedule": "name",
    "averaging": "name",
}


# The settings that are lists of registry entries, and the name of the registry.
LISTS = {"data.augment": "augment", "data.mix": "mix", "observers": "observers"}

# Normalisations by name; data/dataset.py has the values.
STATISTICS = ("train", "imagenet", "cifar10", "cifar100")

TRANSFER_MODES = ("", "linear_probe", "finetune_top", "finetune")

# The limits of the settings in `default_config`.
LIMITS = {
    "seed": SEED,
    "init_from": PATH_OR_HUB,
    "precision": one_of(("", "float32", "tensorfloat32", "bfloat16")),
    "sharding": one_of(("replicated", "fsdp")),
    "reproducible": one_of(("warn", "strict")),
    "transfer.mode": one_of(TRANSFER_MODES),
    "transfer.top": AT_LEAST_0,
    "transfer.depth_multiplier": UP_TO_1,
    "data.resize": between(0, 10_000),
    "data.validation_fraction": FRACTION,
    "data.test_fraction": FRACTION,
    "data.seed": SEED_OR_AS_THE_RUN,
    "data.split_seed": SEED,
    "data.statistics": one_of(STATISTICS),
    "data.placement": one_of(("host", "device", "device_sharded")),
    "loss.l2_regularization": AT_LEAST_0,
    "optimizer.clip_norm": AT_LEAST_0,
    "optimizer.clip_value": AT_LEAST_0,
    "optimizer.lookahead_period": AT_LEAST_0,
    "optimizer.lookahead_step_size": UP_TO_1,
    "train.global_batch_size": AT_LEAST_1,
    "train.microbatches": AT_LEAST_1,
    "train.on_divergence": one_of(("stop", "rollback")),
    "train.max_rollbacks": AT_LEAST_0,
    "eval.global_batch_size": AT_LEAST_1,
    "checkpoint.snapshots": AT_LEAST_0,
    "early_stopping.patience": AT_LEAST_0,
    "early_stopping.min_delta": AT_LEAST_0,
    "processes.stuck_after": POSITIVE,
}
