"""What a config means: its names looked up, its values checked, its durations turned into steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from jaxcnn import config as configs
from jaxcnn.data.augment.table import AUGMENTATIONS, check_augmentations, create_augmentations
from jaxcnn.data.dataset import Dataset, TargetScale
from jaxcnn.data.feeding.host import pixels_of
from jaxcnn.data.sources.table import SOURCES
from jaxcnn.durations import Every, RunLength
from jaxcnn.errors import UserError
from jaxcnn.models import MODELS, create_model
from jaxcnn.models.classifier import Classifier, abstract_variables
from jaxcnn.models.fit import check_fits
from jaxcnn.optim.averaging import AVERAGES, create_averaging
from jaxcnn.optim.chain import check_averages, create_optimizer, gradient_clipping
from jaxcnn.optim.groups import parameter_groups
from jaxcnn.optim.optimizers import OPTIMIZERS
from jaxcnn.optim.schedules import SCHEDULES, Schedule, create_schedule
from jaxcnn.train import losses
from jaxcnn.train.limits import check_values
from jaxcnn.train.losses import LOSSES, Loss, create_loss
from jaxcnn.train.metrics import Means, class_means, target_means
from jaxcnn.train.mixing import MIXES, create_mixes
from jaxcnn.train.recipe import Recipe

REGISTRIES = {
    "model": MODELS,
    "data": SOURCES,
    "augment": AUGMENTATIONS,
    "mix": MIXES,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "averaging": AVERAGES,
}


def load_config(path: str | Path, overrides: Mapping[str, str] | None = None) -> ConfigDict:
    """The full, checked config of a file and of command-line overrides (dotted key → text).

    Raises:
      UserError: the file, a key, a type or a value is wrong.
    """
    return resolve(configs.load_config_file(path), overrides)


def resolve(config: ConfigDict, overrides: Mapping[str, str] | None = None) -> ConfigDict:
    """Completes and checks a config made in Python, as `load_config` does with a file's."""
    config = configs.resolve(config, overrides or {}, REGISTRIES)
    check_values(config)
    return config


@dataclass(frozen=True)
class Experiment:
    """A config made concrete for a data set."""

    model: Classifier
    recipe: Recipe
    schedule: Schedule
    augmentations: list
    length: RunLength
    log: Every
    eval: Every
    checkpoint: Every

    @classmethod
    def of(cls, config: ConfigDict, dataset: Dataset, devices: int) -> "Experiment":
        """Builds what the config describes, and refuses what cannot run, before anything compiles.

        Raises:
          UserError: the batch, the schedule or the model does not fit the data or the devices.
        """
        examples = len(dataset.splits["train"])
        _check_batch(config, examples, devices)
        length = RunLength.of(config, examples)
        schedule = create_schedule(config.schedule.to_dict(), length)
        needs_validation = schedule.plateau or config.early_stopping.patience
        if needs_validation and "validation" not in dataset.splits:
            setting = "config.schedule.name='reduce_on_plateau'"
            if not schedule.plateau:
                setting = f"config.early_stopping.patience={config.early_stopping.patience}"
            raise UserError(f"{setting} needs a validation split, and the data has none")
        batch_size = config.train.global_batch_size // config.train.microbatches
        augmentations = create_augmentations(config.data.augment)
        check_augmentations(augmentations, dataset.image_shape, pixels_of(dataset))
        model = model_for(config, dataset.image_shape, dataset.outputs, batch_size)

        def every(section: str) -> Every:
            return Every(length.stretch(config[section].every, f"config.{section}.every"))

        return cls(
            model=model,
            recipe=recipe_for(
                config, model, dataset.image_shape, dataset.targets, length, schedule
            ),
            schedule=schedule,
            augmentations=augmentations,
            length=length,
            log=every("log"),
            eval=every("eval"),
            checkpoint=every("checkpoint"),
        )


def _check_batch(config: ConfigDict, examples: int, devices: int) -> None:
    batch_size, microbatches = config.train.global_batch_size, config.train.microbatches
    if batch_size > examples:
        raise UserError(
            f"config.train.global_batch_size={batch_size} is larger than the training split, "
            f"which has {examples} images"
        )
    parts = devices * microbatches
    if batch_size % parts:
        lower = batch_size // parts * parts
        among = f"{devices} devices" + (
            f" × config.train.microbatches={microbatches}" if microbatches > 1 else ""
        )
        raise UserError(
            f"config.train.global_batch_size={batch_size} cannot be divided among {among}; "
            f"valid: {f'{lower} or ' if lower else ''}{lower + parts}"
        )


def measures(
    config: ConfigDict, targets: TargetScale | None
) -> tuple[Callable[..., Loss], Callable[..., Means]]:
    """What a model is judged by: the loss in evaluation, and the means that are reported.

    Args:
      targets: of the data, where it is a regression's.

    Raises:
      UserError: the config's loss is not one for such data.
    """
    for_targets = LOSSES[config.loss.name] in losses.OF_TARGETS
    if for_targets != (targets is not None):
        valid = losses.OF_TARGETS if targets else losses.OF_CLASSES
        raise UserError(
            f"config.loss.name={config.loss.name!r} is no loss for data with "
            f"{'targets' if targets else 'classes'}; "
            f"valid: {', '.join(loss.__name__ for loss in valid)}"
        )
    means = target_means(targets.std) if targets else class_means
    return create_loss(config.loss.to_dict(), train=False), means


def recipe_for(
    config: ConfigDict,
    model: Classifier,
    image_shape: tuple[int, int, int],
    targets: TargetScale | None,
    length: RunLength,
    schedule: Schedule,
) -> Recipe:
    """How a resolved config trains a model.

    Args:
      targets: of the data, where it is a regression's.
      length: of the run, which says when averages are taken.

    Raises:
      UserError: the loss is not one for such data, or parameters are named that the model lacks.
    """
    eval_loss, means = measures(config, targets)
    params = abstract_variables(model, image_shape)["params"]
    groups = parameter_groups(config.parameters.to_dict(), params)
    averaging = create_averaging(config.averaging.to_dict(), length)
    optimizer = config.optimizer.to_dict()
    check_averages(optimizer, averaging)
    return Recipe(
        tx=create_optimizer(optimizer, schedule, groups),
        loss=create_loss(config.loss.to_dict(), train=True),
        eval_loss=eval_loss,
        means=means,
        l2_regularization=config.loss.l2_regularization,
        groups=groups,
        clipping=gradient_clipping(optimizer),
        averaging=averaging,
        microbatches=config.train.microbatches,
        mixes=create_mixes(config.data.mix),
    )


def model_for(
    config: ConfigDict,
    image_shape: tuple[int, int, int],
    outputs: int,
    batch_size: int | None = None,
) -> Classifier:
    """The config's model, tried on images of that shape without computing anything.

    Args:
      outputs: how many numbers it gives for an image.
      batch_size: of the training that it is to be tried in too.

    Raises:
      UserError: a field has an impossible value, or the images are too small for the model; then the
        message says what the smallest size is.
    """
    fields = config.model.to_dict()
    name = fields.pop("name")
    model = create_model(name, num_classes=outputs, **fields)
    advice = "--config.data.resize={size} scales the images"
    check_fits(name, model, image_shape, advice, batch_size)
    return model
