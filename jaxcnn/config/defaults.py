"""The settings that all runs share, and their defaults."""

import copy

from ml_collections import ConfigDict

from jaxcnn.limits import (
    AT_LEAST_0,
    AT_LEAST_1,
    FRACTION,
    PATH,
    SEED,
    SEED_OR_AS_THE_RUN,
    UP_TO_1,
    one_of,
)

_DEFAULTS = {
    "seed": 0,  # of initialisation, dropout and mixing, and of the data where data.seed is -1
    "imports": (),  # modules of one's own that register models, optimizers, …
    "init_from": "",  # weights to start from: a converted model's directory, or a run's
    "reinitialize": [],  # regexes of the parameters that begin anew although init_from has them
    "model": {"name": "lenet5"},
    "data": {
        "source": "digits",
        "seed": -1,  # of order and augmentation; -1: the run's seed
        "resize": 0,  # images become resize × resize pixels; 0 leaves them as they are
        # Held out of train, chosen by split_seed, where the source has no such split.
        "validation_fraction": 0.1,
        "test_fraction": 0.1,
        "split_seed": 0,
        # Of the channels: 'train', computed from that split; 'imagenet', 'cifar10', 'cifar100';
        # or mean and std, of pixels in [0, 1].
        "statistics": "train",
        "mean": (),
        "std": (),
        # Where training batches are made: 'host', or 'device', which then holds all the data.
        "placement": "host",
        # Lists of {"name": …, **settings}. In train only: augmentations, applied in order, and
        # mixes of a batch's images and labels, one of which is chosen for each batch.
        "augment": [],
        "mix": [],
    },
    "loss": {"name": "softmax_cross_entropy", "l2_regularization": 0.0},
    "optimizer": {
        "name": "nesterov",
        "clip_norm": 0.0,  # the gradient is shortened to this norm; 0: it is not
        "clip_value": 0.0,  # each of its entries is cut off at ± this; 0: they are not
        "lookahead_period": 0,  # slow weights follow every so many steps; 0: there are none
        "lookahead_step_size": 0.5,
    },
    "schedule": {"name": "cosine", "warmup": "0 steps"},
    "parameters": {  # regexes of parameters' paths, such as stage1_block1/conv1/kernel
        "decayed": ["(^|/)kernel$"],  # by weight decay or by loss.l2_regularization
        "frozen": [],
        "learning_rates": [],  # a list of {"pattern": …, "multiplier": …}
    },
    "averaging": {"name": "none"},  # of the weights, for evaluation
    "train": {
        "duration": "10 epochs",
        "global_batch_size": 128,
        "microbatches": 1,  # parts of a batch that go through the network one by one
    },
    "eval": {"every": "1 epoch", "global_batch_size": 500},
    "early_stopping": {
        "patience": 0,  # evaluations without a better metric, after which a run ends; 0: never
        "metric": "loss",
        "min_delta": 0.0,  # what counts as better
    },
    "log": {"every": "1 epoch"},
    "checkpoint": {"every": "1 epoch", "best_metric": "accuracy"},
    "observers": [],  # a list of {"name": …, **settings}: who watches the run
}


def default_config() -> ConfigDict:
    """The settings common to all runs. Config files start from it and change it.

    The sections of `CHOICE_KEYS` also take the settings of the entry that they name; `jaxcnn models`,
    `jaxcnn optimizers` and `jaxcnn schedules` list them.
    """
    return ConfigDict(copy.deepcopy(_DEFAULTS))


def data_seed(config: ConfigDict) -> int:
    """The seed of the order of the images and of their augmentation."""
    return config.seed if config.data.seed == -1 else config.data.seed


# The sections that choose an entry of a registry, and the key that holds the choice.
CHOICE_KEYS = {
    "model": "name",
    "data": "source",
    "loss": "name",
    "optimizer": "name",
    "schedule": "name",
    "averaging": "name",
}


# The settings that are lists of entries of a registry, and the registry's name.
LISTS = {"data.augment": "augment", "data.mix": "mix", "observers": "observers"}

# Normalisations by name; data/dataset.py has their numbers.
STATISTICS = ("train", "imagenet", "cifar10", "cifar100")

# What the settings of `default_config` may be.
LIMITS = {
    "seed": SEED,
    "init_from": PATH,
    "data.resize": AT_LEAST_0,
    "data.validation_fraction": FRACTION,
    "data.test_fraction": FRACTION,
    "data.seed": SEED_OR_AS_THE_RUN,
    "data.split_seed": SEED,
    "data.statistics": one_of(STATISTICS),
    "data.placement": one_of(("host", "device")),
    "loss.l2_regularization": AT_LEAST_0,
    "optimizer.clip_norm": AT_LEAST_0,
    "optimizer.clip_value": AT_LEAST_0,
    "optimizer.lookahead_period": AT_LEAST_0,
    "optimizer.lookahead_step_size": UP_TO_1,
    "train.global_batch_size": AT_LEAST_1,
    "train.microbatches": AT_LEAST_1,
    "eval.global_batch_size": AT_LEAST_1,
    "early_stopping.patience": AT_LEAST_0,
    "early_stopping.min_delta": AT_LEAST_0,
}
