"""What is checked: a config's network on a few of its training images, with nothing at random."""

from contextlib import closing
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.layout import Layout
from jaxcnn.train.experiment import Experiment, check_trainable, resolve
from jaxcnn.train.pretrained import load_pretrained
from jaxcnn.train.state import TrainState, init_state

_STOCHASTIC = ("dropout_rate", "drop_path_rate")


@dataclass(frozen=True)
class Subject:
    """A config without augmentation, mixing, dropout, decay and schedule, on few images.

    Attributes:
      batch: 'image', 'label' and 'mask' of all the images.
      pretrained: the weights of `init_from`; None without it.
    """

    config: ConfigDict
    experiment: Experiment
    layout: Layout
    batch: dict
    pretrained: dict | None

    @classmethod
    def of(cls, config: ConfigDict, dataset: Dataset, examples: int, steps: int) -> "Subject":
        """The subject that a resolved config and its data make.

        Args:
          examples: how many images, rounded down to a multiple of the devices.
          steps: how many will be taken.

        Raises:
          UserError: the config cannot be trained on the data.
        """
        layout = Layout.over_all_devices(config.sharding)
        check_trainable(config, Experiment.of(config, dataset.spec, layout), dataset.spec, layout)
        examples = min(examples, dataset.spec.sizes["train"])
        count = max(1, examples // layout.replicas) * layout.replicas
        with closing(HostFeed(dataset, layout, (), count, config.seed).train_batches(0)) as batches:
            batch = next(batches)
        plain = resolve(_without_regularisation(config, count, steps))
        experiment = Experiment.of(plain, dataset.spec, layout)
        pretrained, _ = load_pretrained(config, experiment, dataset.spec)
        return cls(plain, experiment, layout, batch, pretrained)

    def with_learning_rate(self, factor: float, dataset: Dataset) -> Experiment:
        """The experiment with another learning rate."""
        config = self.config.copy_and_resolve_references()
        config.optimizer.learning_rate *= factor
        return Experiment.of(config, dataset.spec, self.layout)

    def state(self, dataset: Dataset) -> TrainState:
        """The initial state, as a run of the config begins."""
        model, recipe, seed = self.experiment.model, self.experiment.recipe, self.config.seed
        shape = dataset.spec.image_shape
        return init_state(model, recipe, shape, seed, self.layout, self.pretrained)

    def loss(self, outputs: jax.Array) -> float:
        """The mean training loss of outputs (images, …) for the batch's labels."""
        loss = self.experiment.recipe.loss(outputs, self.batch["label"], self.batch["mask"])
        return float(loss.summed / loss.count)

    @property
    def neutral_loss(self) -> float:
        """The loss of outputs of 0, which prefer nothing: ln C for cross-entropy over C classes."""
        shape = len(self.batch["label"]), self.experiment.model.num_classes
        return self.loss(jnp.zeros(shape, jnp.float32))

    @property
    def key(self) -> jax.Array:
        """Of dropout, which is off."""
        return jax.random.key(0)


def _without_regularisation(config: ConfigDict, batch_size: int, steps: int) -> ConfigDict:
    plain = config.copy_and_resolve_references()
    plain.data.augment, plain.data.mix, plain.data.placement = [], [], "host"
    plain.loss.l2_regularization = 0.0
    if "label_smoothing" in plain.loss:
        plain.loss.label_smoothing = 0.0
    if "weight_decay" in plain.optimizer:
        plain.optimizer.weight_decay = 0.0
    for name in plain.model:
        if name.endswith(_STOCHASTIC):
            plain.model[name] = 0.0
    plain.schedule = ConfigDict({"name": "constant", "warmup": "0 steps"})
    plain.averaging = ConfigDict({"name": "none"})
    plain.early_stopping.patience = plain.checkpoint.snapshots = 0
    plain.train.update(
        {"duration": f"{steps} steps", "global_batch_size": batch_size, "microbatches": 1}
    )
    return plain
