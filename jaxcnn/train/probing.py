"""Linear probes: the head is trained on features that the network computes once."""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.device import DeviceFeed
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.data.sources.cache import cached
from jaxcnn.data.spec import DataSpec
from jaxcnn.data.split import Split
from jaxcnn.errors import UserError
from jaxcnn.models.classifier import Classifier
from jaxcnn.train.evaluate import outputs_of_split
from jaxcnn.train.experiment import Experiment, create_feed
from jaxcnn.train.extraction import BEFORE_THE_HEAD, extractor
from jaxcnn.train.state import TrainState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Probe:
    """A network from its last features on; in place of the network in a step.

    Its variables are those of the whole network, so that a checkpoint is one of the network.
    """

    network: Classifier

    def __getattr__(self, name: str) -> Any:  # its classes, its dtype, how it is initialised
        return getattr(self.network, name)

    def apply(
        self, variables: Mapping, features: jax.Array, mutable: Sequence[str] = (), **_: Any
    ) -> Any:
        """As `flax.linen.Module.apply`, of features (batch, 1, 1, width) in place of images.

        Whether it is training makes no difference.
        """
        features = features.reshape(len(features), -1)
        logits = self.network.apply(variables, features, method="logits_of")
        return (logits, {"batch_stats": variables["batch_stats"]}) if mutable else logits


def on_features(
    config: ConfigDict, experiment: Experiment, feed: HostFeed | DeviceFeed, state: TrainState
) -> tuple[Experiment, HostFeed | DeviceFeed]:
    """For a linear probe, the experiment of training the head, and a feed of features.

    Otherwise, or if they are that already, the given ones. The features of all splits are computed in
    evaluation and kept in the user's cache.

    Args:
      feed: of the images.
      state: with the weights of the network.

    Raises:
      UserError: the network's logits are not what its head makes of its last features.
    """
    if config.transfer.mode != "linear_probe" or isinstance(experiment.model, Probe):
        return experiment, feed
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    start, dataset, size = time.perf_counter(), feed.dataset, config.eval.global_batch_size
    extract, probe = extractor(experiment.model, BEFORE_THE_HEAD), Probe(experiment.model)
    with closing(feed.eval_batches("train", feed.layout.replicas)) as batches:
        batch = next(batches)
    _check_head(probe, extract, variables, batch)
    program = extract.lower(variables, batch).as_text()
    key = _digest(program, variables), feed.layout.platform, jax.__version__
    splits = {}
    for name, split in dataset.splits.items():

        def compute(name: str = name) -> dict[str, np.ndarray]:
            return {"features": outputs_of_split(extract, variables, feed, name, size)}

        images = replace(dataset, splits={name: split}).fingerprint()
        found = cached("features", (*key, images), compute)["features"]
        splits[name] = Split(found[:, None, None, :], split.labels)
    count, width = sum(map(len, splits.values())), splits["train"].image_shape[-1]
    seconds = time.perf_counter() - start
    log.info("%s features of %s images: %.1f s", f"{width:,}", f"{count:,}", seconds)
    features = Dataset(splits, _spec_of(dataset, width))
    experiment = replace(experiment, model=probe)
    return experiment, create_feed(config, features, experiment, feed.layout)


def _spec_of(dataset: Dataset, width: int) -> DataSpec:
    """The description of features as images of one pixel, not normalised."""
    return replace(
        dataset.spec,
        image_shape=(1, 1, width),
        mean=np.zeros(width, np.float32),
        std=np.ones(width, np.float32),
        pixel_dtype="float32",
    )


def _digest(program: str, variables: Mapping) -> str:
    """Of a program and the weights before the head."""
    digest = hashlib.blake2b(program.encode(), digest_size=16)
    for path, leaf in sorted(flatten_dict(variables, sep="/").items()):
        if not path.startswith("params/head/"):
            digest.update(path.encode())
            digest.update(np.ascontiguousarray(jax.device_get(leaf)))
    return digest.hexdigest()


def _check_head(probe: Probe, extract: Callable, variables: Mapping, batch: dict) -> None:
    logits = jax.jit(partial(probe.network.apply, train=False))(variables, batch["image"])
    of_head = jax.jit(probe.apply)(variables, extract(variables, batch))
    if not np.allclose(logits, of_head, rtol=1e-3, atol=1e-3 * np.abs(logits).max()):
        raise UserError(
            "config.transfer.mode='linear_probe': the network's logits are not what its layer 'head' "
            "makes of its endpoint 'pre_logits'"
        )
