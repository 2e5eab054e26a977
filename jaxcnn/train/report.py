"""What a run says on the terminal while it goes on."""

import logging
import sys
from collections.abc import Mapping, Sequence

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxcnn.data.dataset import Dataset
from jaxcnn.optim.chain import takes_mask
from jaxcnn.train.experiment import Experiment

log = logging.getLogger(__name__)


def introduce(
    config: ConfigDict, dataset: Dataset, experiment: Experiment, parameters: int, devices: int
) -> None:
    """Says what will be trained, on what, and how."""
    for remark in dataset.remarks:
        log.warning(remark)
    splits = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    size = "×".join(map(str, dataset.image_shape))
    answer = f"{dataset.outputs} {'numbers' if dataset.targets else 'classes'}"
    log.info(
        "%s: %s parameters; %s images of %s, %s; %d %s device(s)",
        config.model.name,
        f"{parameters:,}",
        splits,
        size,
        answer,
        devices,
        jax.default_backend(),
    )
    for section in ("optimizer", "schedule", "averaging"):
        if config[section].name != "none":
            log.info("%s: %s", section, section_in_words(config[section]))
    decays = config.loss.l2_regularization or config.optimizer.get("weight_decay", 0.0)
    for rule in experiment.recipe.groups.rules:
        if rule.startswith("decayed"):
            if config.optimizer.get("weight_decay", 0.0) and not takes_mask(config.optimizer.name):
                rule = f"decayed: all parameters, since {config.optimizer.name} takes no mask"
            elif not decays:
                continue
        log.info(rule)


def in_words(values: Mapping[str, float]) -> str:
    """A line's metrics: 'loss 0.1234  accuracy 97.50%'."""
    words = [f"loss {values['loss']:.4f}"]
    if "accuracy" in values:
        words.append(f"accuracy {values['accuracy']:.2%}")
    if "mae" in values:
        words.append(f"mean absolute error {values['mae']:.4g}")
    return "  ".join(words)


def divergence_advice(step: int, learning_rate: float, kept: Sequence[int]) -> str:
    """What to say where the loss is no longer finite; there are checkpoints of the steps `kept`."""
    return (
        f"the loss became NaN or infinite at step {step} (learning rate {learning_rate:.3g}); "
        "try a smaller --config.optimizer.learning_rate or a longer --config.schedule.warmup; "
        + (f"the checkpoint of step {kept[-1]} is kept" if kept else "no checkpoint was saved yet")
    )


def progress_bar(name: str, step: int, total_steps: int, batch_size: int) -> tqdm:
    """Counts images; not drawn where nobody looks at it."""
    return tqdm(
        total=total_steps * batch_size,
        initial=step * batch_size,
        unit=" images",
        unit_scale=True,
        dynamic_ncols=True,
        disable=not sys.stderr.isatty(),
        desc=name,
    )


def section_in_words(section: ConfigDict) -> str:
    """'adam, b1=0.9, b2=0.999, …': what is chosen, and its settings in alphabetical order."""
    settings = sorted((key, value) for key, value in section.items() if key != "name")
    return ", ".join([section.name, *(f"{key}={_short(value)}" for key, value in settings)])


def _short(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
