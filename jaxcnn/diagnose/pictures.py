"""Matplotlib figures of a run: images, schedule, filters and misclassified examples."""

from collections.abc import Sequence

import jax
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from jaxcnn.config import data_seed
from jaxcnn.data.augment.table import check_augmentations, create_augmentations
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.preparation import augmentation_stages, pixels_of
from jaxcnn.durations import RunLength
from jaxcnn.errors import UserError
from jaxcnn.optim.schedule import Schedule
from jaxcnn.plots.images import augmentation_sheet, image_grid
from jaxcnn.plots.schedule import draw_schedule
from jaxcnn.train.mixing import create_mixes, mixed


def contact_sheet(batch: dict, dataset: Dataset, heading: str = "") -> Figure:
    """The images of a batch as the network receives them, denormalised, with their labels.

    Args:
      batch: 'image' (n, height, width, channels), normalised, and 'label' (n, …).
    """
    pixels = batch["image"] * dataset.spec.std + dataset.spec.mean
    scale = 255 if dataset.spec.mean.max() > 1 or pixels.max() > 2 else 1
    titles = label_names(batch["label"], dataset)
    return image_grid(pixels / scale, titles, heading=heading)


def training_images(config: ConfigDict, dataset: Dataset, count: int) -> Figure:
    """The first `count` training images of a run, as stored and after each augmentation and mix.

    Without any of these, a grid of the images.

    Raises:
      UserError: an augmentation does not apply to such images.
    """
    augmentations = create_augmentations(config.data.augment)
    check_augmentations(augmentations, dataset.spec.image_shape, pixels_of(dataset.spec))
    labels, stages = augmentation_stages(dataset, augmentations, count, data_seed(config))
    augmented = stages[-1].astype(np.float32)
    for entry in config.data.mix:
        mixes = create_mixes([{**entry, "probability": 1.0}])
        batch = {"image": augmented, "label": labels}
        new = mixed(mixes, jax.random.key(config.seed), batch, dataset.spec.outputs)
        stages.append(np.asarray(new["image"]))
    scale = 255 if dataset.spec.pixel_dtype == "uint8" else max(stage.max() for stage in stages)
    stages = [stage / scale for stage in stages]
    titles = label_names(labels, dataset)
    names = [entry["name"] for entry in [*config.data.augment, *config.data.mix]]
    if not names:
        return image_grid(stages[0], titles, heading="no augmentation")
    return augmentation_sheet(stages, ["as stored", *names], titles)


def augmentation_gallery(config: ConfigDict, dataset: Dataset, count: int, epochs: int) -> Figure:
    """The first `count` training images of a run, as stored and as augmented in each of some epochs.

    Raises:
      UserError: the run has no augmentation, or one that does not apply to such images.
    """
    augmentations = create_augmentations(config.data.augment)
    if not augmentations:
        raise UserError("config.data.augment=[]: this run has no augmentation to draw")
    check_augmentations(augmentations, dataset.spec.image_shape, pixels_of(dataset.spec))
    of_epoch = [
        augmentation_stages(dataset, augmentations, count, data_seed(config), epoch)
        for epoch in range(epochs)
    ]
    labels, (stored, *_) = of_epoch[0]
    stages = [stored, *(stages[-1] for _, stages in of_epoch)]
    scale = 255 if dataset.spec.pixel_dtype == "uint8" else max(stage.max() for stage in stages)
    heading = ", ".join(entry["name"] for entry in config.data.augment)
    if config.data.mix:
        mixes = ", ".join(entry["name"] for entry in config.data.mix)
        heading += f"\n(without {mixes} of whole batches, which jaxcnn show-batch draws)"
    names = ["as stored", *(f"epoch {epoch}" for epoch in range(1, epochs + 1))]
    titles = label_names(labels, dataset)
    return augmentation_sheet([stage / scale for stage in stages], names, titles, heading)


def label_names(labels: np.ndarray, dataset: Dataset) -> list[str]:
    """Labels (n, …) as text: class names, or regression targets in the data's unit."""
    if dataset.spec.targets is None:
        return [dataset.spec.class_names[label] for label in labels]
    targets = labels * dataset.spec.targets.std + dataset.spec.targets.mean
    return [np.array2string(target, precision=3) for target in targets]


def schedule_plot(
    schedule: Schedule, length: RunLength, learning_rate: float, heading: str = ""
) -> Figure:
    """The learning rate over the steps of a run, and the momentum if it is scheduled.

    Args:
      learning_rate: the peak.
    """
    steps = np.unique(np.linspace(0, length.steps - 1, 2000).round().astype(int))
    rates = learning_rate * np.broadcast_to(jax.vmap(schedule.factor)(steps), steps.shape)
    momentum = jax.vmap(schedule.momentum)(steps) if schedule.momentum else None
    return draw_schedule(steps, rates, momentum, length.examples / length.batch_size, heading)


def most_confident_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    count: int = 16,
) -> Figure:
    """The misclassified images with the highest predicted probability.

    Args:
      images: (n, height, width, 1 or 3), in 0 … 1.
      labels: (n,), int, the true classes.
      probabilities: (n, classes).
    """
    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(1))][:count]
    titles = [
        f"{class_names[predicted[i]]} {probabilities[i].max():.0%}\nis {class_names[labels[i]]}"
        for i in worst
    ]
    return image_grid(
        images[worst], titles, heading=f"most confident of {len(wrong)} mistakes in {len(labels)}"
    )
