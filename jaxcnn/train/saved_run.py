"""A finished or unfinished run, loaded to be used: evaluated, or asked about images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.data.dataset import load_dataset
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.data.sources.decoding import Decoder, read_image
from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError, suggestion
from jaxcnn.layout import Layout
from jaxcnn.models.classifier import Classifier
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.evaluate import evaluate as evaluate_split
from jaxcnn.train.experiment import Experiment
from jaxcnn.train.keeping import restored_variables, spec_of
from jaxcnn.train.recipe import Scoring
from jaxcnn.train.state import TrainState, abstract_state
from jaxcnn.train.step import make_eval_step
from jaxcnn.train.views import check_views
from jaxcnn.train.workdir import Workdir


@dataclass(frozen=True)
class SavedRun:
    """One checkpoint of a run: its model, its weights, and how its images were prepared.

    Attributes:
      variables: {'params', 'batch_stats'}, averages where the run has them.
      step: at which it was saved.
      fingerprint: of the data that it was trained on.
    """

    config: ConfigDict
    model: Classifier
    spec: DataSpec
    variables: Mapping[str, Any]
    step: int
    fingerprint: str
    scoring: Scoring
    layout: Layout

    def evaluate(self, split: str = "test", tta: str = "") -> dict[str, float | int]:
        """Each metric by name ('loss', 'accuracy', …) and 'count', on a split of the run's own data.

        Args:
          tta: of `views.VIEWS`, those whose class probabilities are averaged; or ''.

        Raises:
          UserError: the data has no such split, has changed, or cannot be loaded.
        """
        check_views(tta, self.config)
        dataset = load_dataset(self.config.data.to_dict())
        if dataset.fingerprint() != self.fingerprint:
            raise UserError(
                "the data is not what this run was trained on: the images or labels of "
                f"config.data.source={self.config.data.source!r} have changed since"
            )
        if split not in dataset.splits:
            raise UserError(f"split={split!r}: {suggestion(split, dataset.splits)}")
        return evaluate_split(
            jax.jit(make_eval_step(self.model, tta)),
            self.variables,
            self.layout.replicate(self.scoring),
            HostFeed(dataset, self.layout),
            split,
            self.config.eval.global_batch_size,
        )

    def predict_files(self, paths: Sequence[str | Path]) -> np.ndarray:
        """What `predict` gives for image files, scaled to the run's image size.

        Raises:
          UserError: a file cannot be read, or the run was trained on arrays of another scale.
        """
        if self.spec.pixel_dtype != "uint8":
            raise UserError(
                f"this run was trained on {self.spec.pixel_dtype} arrays, and nothing says how the "
                "pixels of an image file are to be scaled to them; call SavedRun.predict with arrays"
            )
        height, width, channels = self.spec.image_shape
        shown = self.config.data.get("central_fraction", 1.0)
        decoder = Decoder(height if height == width else 0, channels, shown)
        images = []
        for path in paths:
            image = read_image(decoder, path)
            if image.shape != self.spec.image_shape:
                raise UserError(
                    f"{path} has {image.shape[0]}×{image.shape[1]} pixels; this run's images, which "
                    f"are not square, have {height}×{width}"
                )
            images.append(image)
        return self.predict(np.stack(images))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Answers, float32, for stored pixels (images, height, width, channels).

        Returns:
          Class probabilities (images, classes); or, of a regression, targets (images, …) in the data's
          unit. Under a sigmoid loss each class has a probability of its own.
        """
        spec, targets = self.spec, self.spec.targets
        size = min(self.config.eval.global_batch_size, len(images))
        size += -size % self.layout.replicas

        @jax.jit
        def answer_of(variables: Mapping, batch: dict) -> jax.Array:
            outputs = self.model.apply(variables, batch["image"], train=False)
            if targets:
                return outputs.reshape(-1, *targets.mean.shape) * targets.std + targets.mean
            sigmoid = self.config.loss.name == "sigmoid_cross_entropy"
            return jax.nn.sigmoid(outputs) if sigmoid else jax.nn.softmax(outputs)

        answers = []
        for start in range(0, len(images), size):
            chunk = images[start : start + size].astype(np.float32)
            batch = np.zeros((size, *spec.image_shape), np.float32)
            batch[: len(chunk)] = (chunk - spec.mean) * (1 / spec.std)
            answer = answer_of(self.variables, self.layout.put_batch({"image": batch}))
            answers.append(np.asarray(answer)[: len(chunk)])
        return np.concatenate(answers)


def load_run(workdir: str | Path, checkpoint: str = "best") -> SavedRun:
    """Loads a checkpoint of a run, without the optimizer's state.

    Args:
      checkpoint: 'best' (by the validation split; the latest where there is none), 'latest', or a
        step.

    Raises:
      UserError: there is no run, no such checkpoint, or the checkpoint is damaged.
    """
    found = _Found.of(Workdir(workdir), checkpoint)
    variables = found.read(lambda: restored_variables(found.checkpoints, found.step, found.like))
    return SavedRun(
        config=found.config,
        model=found.experiment.model,
        spec=found.spec,
        variables=variables,
        step=found.step,
        fingerprint=found.notes["fingerprint"],
        scoring=found.experiment.recipe.scoring,
        layout=found.layout,
    )


def load_state(workdir: str | Path, checkpoint: str = "latest") -> TrainState:
    """The whole training state of a checkpoint; arguments and errors as of `load_run`."""
    found = _Found.of(Workdir(workdir), checkpoint)
    return found.read(lambda: found.checkpoints.restore(found.step, found.like)[0])


def evaluate(
    workdir: str | Path, split: str = "test", checkpoint: str = "best", tta: str = ""
) -> dict[str, float | int]:
    """Evaluates a run on a split of its data: `load_run(workdir, checkpoint).evaluate(split, tta)`."""
    return load_run(workdir, checkpoint).evaluate(split, tta)


def predict(
    workdir: str | Path, images: np.ndarray | Sequence[str | Path], checkpoint: str = "best"
) -> np.ndarray:
    """A run's answers, as `SavedRun.predict` gives them, for arrays of pixels or for image files."""
    run = load_run(workdir, checkpoint)
    return run.predict(images) if isinstance(images, np.ndarray) else run.predict_files(images)


@dataclass(frozen=True)
class _Found:
    """A checkpoint that was found, and what reading it takes."""

    config: ConfigDict
    checkpoints: Checkpoints
    step: int
    steps: list[int]  # that there are
    notes: dict
    spec: DataSpec
    layout: Layout
    experiment: Experiment
    like: TrainState

    @classmethod
    def of(cls, directory: Workdir, checkpoint: str) -> "_Found":
        config = directory.read_config()
        checkpoints, step, steps = _located(directory, checkpoint)
        notes = _read(checkpoints, step, steps, lambda: checkpoints.notes(step))
        spec, layout = spec_of(notes), Layout.over_all_devices()
        experiment = Experiment.of(config, spec, layout)
        model, recipe = experiment.model, experiment.recipe
        like = abstract_state(model, recipe, spec.image_shape, layout)
        return cls(config, checkpoints, step, steps, notes, spec, layout, experiment, like)

    def read(self, function):
        return _read(self.checkpoints, self.step, self.steps, function)


def _located(directory: Workdir, checkpoint: str) -> tuple[Checkpoints, int, list[int]]:
    """Where a checkpoint is: the checkpoints it is among, its step, and all steps that there are."""
    kinds = {
        kind: Checkpoints(path, keep=0, read_only=True)
        for kind, path in (("best", directory.best), ("latest", directory.latest))
        if path.is_dir()
    }
    steps = {kind: checkpoints.steps() for kind, checkpoints in kinds.items()}
    everything = sorted({step for kind in steps.values() for step in kind})
    if not everything:
        raise UserError(f"workdir={directory.path} holds no checkpoint yet")
    if checkpoint == "best" and not steps.get("best"):
        checkpoint = "latest"
    if steps.get(checkpoint):
        return kinds[checkpoint], steps[checkpoint][-1], everything
    kind = next((kind for kind in kinds if checkpoint in map(str, steps[kind])), None)
    if kind is None:
        raise UserError(
            f"checkpoint={checkpoint!r} does not exist; valid: best, latest, or one of the steps "
            f"{', '.join(map(str, everything))}"
        )
    return kinds[kind], int(checkpoint), everything


def _read(checkpoints: Checkpoints, step: int, steps: list[int], function):
    """What a function reads of a checkpoint; an error that says so where it is damaged."""
    try:
        return function()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{checkpoints.directory / str(step)} is damaged ({type(error).__name__}); "
            f"checkpoint takes best, latest, or one of the steps {', '.join(map(str, steps))}"
        ) from error
