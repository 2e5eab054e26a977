"""Finished or unfinished runs, loaded for evaluation and prediction."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.data.dataset import Dataset, load_dataset
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError, suggestion
from jaxcnn.layout import Layout
from jaxcnn.models.classifier import Classifier
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.damage import what_is_wrong
from jaxcnn.train.evaluate import evaluate_split
from jaxcnn.train.experiment import Experiment, resolve
from jaxcnn.train.keeping import restored_variables, spec_of
from jaxcnn.train.other_images import images_of_folder
from jaxcnn.train.prediction import answer_for, answers_or_errors, checked_images, file_reader
from jaxcnn.train.recipe import Scoring
from jaxcnn.train.resuming import LOCATIONS
from jaxcnn.train.state import TrainState, abstract_state
from jaxcnn.train.step import make_eval_step
from jaxcnn.train.views import check_views
from jaxcnn.train.workdir import Workdir


@dataclass(frozen=True)
class SavedRun:
    """One checkpoint of a run: model, weights and data specification.

    Attributes:
      spec: of the training data; it also describes the preprocessing.
      variables: {'params', 'batch_stats'}, averaged if the run averages.
      step: at which the checkpoint was saved.
      fingerprint: of the training data.
    """

    config: ConfigDict
    model: Classifier
    spec: DataSpec
    variables: Mapping[str, Any]
    step: int
    fingerprint: str
    scoring: Scoring
    layout: Layout

    def evaluate(
        self,
        split: str = "test",
        tta: str = "",
        data: str | Path = "",
        location: Mapping[str, str] | None = None,
    ) -> dict[str, float | int]:
        """Evaluates a split of the run's data, or of a folder of other images.

        Args:
          tta: a name of `views.VIEWS`, to average class probabilities over its views; or ''.
          data: a folder of other images, instead of the run's data. They are normalised with the
            run's statistics, and their classes are matched by name.
          location: where the run's data is now, if it moved: {"data.root": "/new/photos"}.

        Returns:
          Each metric by name ('loss', 'accuracy', …), and 'count'.

        Raises:
          UserError: the data has no such split, has changed, or cannot be loaded.
        """
        check_views(tta, self.config)
        if data:
            dataset = images_of_folder(data, split, self.config, self.spec)
        else:
            dataset = self.dataset(split, location or {})
        return evaluate_split(
            jax.jit(make_eval_step(self.model, tta)),
            self.variables,
            self.layout.replicate(self.scoring),
            HostFeed(dataset, self.layout),
            split,
            self.config.eval.global_batch_size,
        )

    def dataset(self, split: str, location: Mapping[str, str]) -> Dataset:
        """The run's data, which must have the split; arguments and errors as `evaluate`."""
        if wrong := set(location) - set(LOCATIONS):
            raise UserError(
                f"config.{min(wrong)} cannot change for an evaluation; only the place of the data can: "
                f"{', '.join(f'config.{key}' for key in LOCATIONS)}"
            )
        dataset = load_dataset(resolve(self.config, location).data.to_dict())
        if dataset.fingerprint() != self.fingerprint:
            raise UserError(
                "this run was trained on other data: the images or labels of "
                f"config.data.source={self.config.data.source!r} have changed"
            )
        if split not in dataset.splits:
            raise UserError(f"split={split!r}: {suggestion(split, dataset.splits)}")
        return dataset

    def predict_files(self, paths: Sequence[str | Path]) -> np.ndarray:
        """Predictions for image files (a list of paths), scaled to the run's image size.

        Raises:
          UserError: a file cannot be read, or the run was trained on arrays of another scale.
        """
        answers = []
        for _, answer in self.each_prediction(paths):
            if isinstance(answer, UserError):
                raise answer
            answers.append(answer)
        return np.stack(answers)

    def each_prediction(
        self, paths: Sequence[str | Path]
    ) -> Iterator[tuple[str | Path, np.ndarray | UserError]]:
        """Each of many image files, with its prediction, or with the error for one that is unreadable.

        Only the images of one evaluation batch are in memory.

        Raises:
          UserError: the run was trained on arrays of another scale.
        """
        read, size = file_reader(self.config.data, self.spec), self.config.eval.global_batch_size
        for start in range(0, len(paths), size):
            some = paths[start : start + size]
            yield from zip(some, answers_or_errors(some, read, self.predict), strict=True)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Predictions, float32, for pixels (images, height, width, channels) as they are stored.

        Raises:
          UserError: the images differ from the run's in shape or dtype.

        Returns:
          Class probabilities (images, classes), or, for a regression, targets (images, …) in the unit
          of the data. With a sigmoid loss, the probabilities of an image need not sum to 1.
        """
        spec, targets = self.spec, self.spec.targets
        images = checked_images(images, spec)
        size = min(self.config.eval.global_batch_size, len(images))
        size += -size % self.layout.replicas
        answer_of, answers = answer_for(self.model, self.config.loss.name), []
        for start in range(0, len(images), size):
            chunk = images[start : start + size].astype(np.float32)
            batch = np.zeros((size, *spec.image_shape), np.float32)
            batch[: len(chunk)] = (chunk - spec.mean) * (1 / spec.std)
            answer = answer_of(self.variables, self.layout.put_batch({"image": batch}))
            answers.append(np.asarray(answer)[: len(chunk)])
        answers = np.concatenate(answers)
        if targets:
            return answers.reshape(-1, *targets.mean.shape) * targets.std + targets.mean
        return answers


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
    """Loads the whole training state of a checkpoint; arguments and errors as `load_run`."""
    found = _Found.of(Workdir(workdir), checkpoint, sharded=True)
    return found.read(lambda: found.checkpoints.restore(found.step, found.like))


def evaluate(
    workdir: str | Path,
    split: str = "test",
    checkpoint: str = "best",
    tta: str = "",
    data: str | Path = "",
    location: Mapping[str, str] | None = None,
) -> dict[str, float | int]:
    """Evaluates a run on a split: `load_run(workdir, checkpoint).evaluate(split, tta, …)`."""
    return load_run(workdir, checkpoint).evaluate(split, tta, data, location)


def predict(
    workdir: str | Path, images: np.ndarray | Sequence[str | Path], checkpoint: str = "best"
) -> np.ndarray:
    """A run's predictions for pixels (`SavedRun.predict`) or image files (`predict_files`)."""
    if isinstance(images, str | Path):
        raise UserError(f"images={str(images)!r} must be an array, or a list of paths")
    if len(images) == 0:
        raise UserError("there are no images to predict")
    run = load_run(workdir, checkpoint)
    return run.predict(images) if isinstance(images, np.ndarray) else run.predict_files(images)


def spec_of_run(directory: Workdir) -> DataSpec | None:
    """The data specification of a run; None if it has no checkpoint yet.

    Raises:
      UserError: its checkpoint is damaged.
    """
    if not directory.has_checkpoint():
        return None
    checkpoints, step, steps = _located(directory, "latest")
    return spec_of(_read(checkpoints, step, steps, lambda: checkpoints.notes(step)))


@dataclass(frozen=True)
class _Found:
    """A checkpoint on disk, and what is needed to read it."""

    config: ConfigDict
    checkpoints: Checkpoints
    step: int
    steps: list[int]  # all available ones
    notes: dict
    spec: DataSpec
    layout: Layout
    experiment: Experiment
    like: TrainState

    @classmethod
    def of(cls, directory: Workdir, checkpoint: str, sharded: bool = False) -> "_Found":
        """`sharded`: as the run is; else every device gets a copy."""
        config = directory.read_config()
        checkpoints, step, steps = _located(directory, checkpoint)
        notes = _read(checkpoints, step, steps, lambda: checkpoints.notes(step))
        spec = spec_of(notes)
        layout = Layout.over_all_devices(config.sharding if sharded else "replicated")
        experiment = Experiment.of(config, spec, layout)
        model, recipe = experiment.model, experiment.recipe
        like = abstract_state(model, recipe, spec.image_shape, layout)
        return cls(config, checkpoints, step, steps, notes, spec, layout, experiment, like)

    def read(self, function):
        return _read(self.checkpoints, self.step, self.steps, function)


def _located(directory: Workdir, checkpoint: str) -> tuple[Checkpoints, int, list[int]]:
    """Locates a checkpoint: its `Checkpoints`, its step, and all available steps."""
    kinds = {
        kind: Checkpoints(path, keep=0, read_only=True)
        for kind, path in (
            ("best", directory.best),
            ("latest", directory.latest),
            ("snapshots", directory.snapshots),
        )
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
    """Calls a function that reads a checkpoint; raises UserError if the checkpoint is damaged."""
    try:
        return function()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{checkpoints.directory / str(step)} is damaged ({what_is_wrong(error)}); "
            f"choose checkpoint best, latest, or one of the steps {', '.join(map(str, steps))}"
        ) from error
