"""A finished or unfinished run, loaded to be used: evaluated, or asked about images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxcnn.data.dataset import TargetScale, load_dataset
from jaxcnn.data.sources.decoding import Decoder, read_image
from jaxcnn.durations import RunLength
from jaxcnn.errors import UserError, suggestion
from jaxcnn.layout import make_mesh, put_batch, replicated
from jaxcnn.optim.schedules import create_schedule
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.evaluate import evaluate
from jaxcnn.train.experiment import model_for, recipe_for
from jaxcnn.train.feed import HostFeed
from jaxcnn.train.recipe import Recipe
from jaxcnn.train.state import TrainState, abstract_state, evaluation_variables
from jaxcnn.train.step import make_eval_step
from jaxcnn.train.views import check_views
from jaxcnn.train.workdir import Workdir


@dataclass(frozen=True)
class SavedRun:
    """One checkpoint of a run: its model, its weights, and how its images were prepared."""

    config: ConfigDict
    model: nn.Module
    state: TrainState
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: np.ndarray
    std: np.ndarray
    pixel_dtype: str
    targets: TargetScale | None
    fingerprint: str
    recipe: Recipe
    mesh: Mesh

    @property
    def step(self) -> int:
        return int(self.state.step)

    def evaluate(self, split: str, views: str = "") -> dict[str, float | int]:
        """{'loss', 'accuracy', 'count'} on a split of the run's own data; 'mae' for a regression's.

        Args:
          views: of `views.VIEWS`, those whose class probabilities are averaged; or ''.

        Raises:
          UserError: the data has no such split, or cannot be loaded.
        """
        check_views(views, self.config)
        dataset = load_dataset(self.config.data.to_dict())
        if dataset.fingerprint() != self.fingerprint:
            raise UserError(
                "the data is not what this run was trained on: the images or labels of "
                f"config.data.source={self.config.data.source!r} have changed since"
            )
        if split not in dataset.splits:
            raise UserError(f"--split={split}: {suggestion(split, dataset.splits)}")
        eval_step = jax.jit(
            make_eval_step(self.model, self.recipe.eval_loss, self.recipe.means, views)
        )
        batch_size, variables = self.config.eval.global_batch_size, evaluation_variables(self.state)
        feed = HostFeed(dataset, self.mesh)
        return evaluate(eval_step, variables, feed, split, batch_size)

    def predict_files(self, paths: Sequence[str | Path]) -> np.ndarray:
        """What `predict` gives for image files, scaled to the run's image size.

        Raises:
          UserError: a file cannot be read, or the run was trained on arrays of another scale.
        """
        if self.pixel_dtype != "uint8":
            raise UserError(
                f"this run was trained on {self.pixel_dtype} arrays, and nothing says how the pixels "
                "of an image file are to be scaled to them; call SavedRun.predict with arrays"
            )
        height, width, channels = self.image_shape
        shown = self.config.data.get("central_fraction", 1.0)
        decoder = Decoder(height if height == width else 0, channels, shown)
        images = []
        for path in paths:
            image = read_image(decoder, path)
            if image.shape != self.image_shape:
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
        size = min(self.config.eval.global_batch_size, len(images))
        size += -size % self.mesh.size

        variables = evaluation_variables(self.state)

        @jax.jit
        def answer_of(variables: Mapping, batch: dict) -> jax.Array:
            outputs = self.model.apply(variables, batch["image"], train=False)
            if self.targets:
                outputs = outputs.reshape(-1, *self.targets.mean.shape)
                return outputs * self.targets.std + self.targets.mean
            sigmoid = self.config.loss.name == "sigmoid_cross_entropy"
            return jax.nn.sigmoid(outputs) if sigmoid else jax.nn.softmax(outputs)

        answers = []
        for start in range(0, len(images), size):
            chunk = images[start : start + size].astype(np.float32)
            batch = np.zeros((size, *self.image_shape), np.float32)
            batch[: len(chunk)] = (chunk - self.mean) * (1 / self.std)
            answer = answer_of(variables, put_batch({"image": batch}, self.mesh))
            answers.append(np.asarray(answer)[: len(chunk)])
        return np.concatenate(answers)


def load_run(workdir: str | Path, checkpoint: str = "best") -> SavedRun:
    """Loads a checkpoint of a run.

    Args:
      checkpoint: 'best' (by the validation split; the latest where there is none), 'latest', or a
        step.

    Raises:
      UserError: there is no run, no such checkpoint, or the checkpoint is damaged.
    """
    directory = Workdir(workdir)
    config = directory.read_config()
    kinds = {
        kind: Checkpoints(path, keep=0, read_only=True)
        for kind, path in (("best", directory.best), ("latest", directory.latest))
        if path.is_dir()
    }
    steps = {kind: checkpoints.steps() for kind, checkpoints in kinds.items()}
    everything = sorted({step for kind in steps.values() for step in kind})
    if not everything:
        raise UserError(f"--workdir={workdir} holds no checkpoint yet")
    if checkpoint == "best" and not steps.get("best"):
        checkpoint = "latest"
    if steps.get(checkpoint):
        kind, step = checkpoint, steps[checkpoint][-1]
    else:
        kind = next((kind for kind in kinds if checkpoint in map(str, steps[kind])), None)
        if kind is None:
            raise UserError(
                f"--checkpoint={checkpoint} does not exist; valid: best, latest, or one of the steps "
                f"{', '.join(map(str, everything))}"
            )
        step = int(checkpoint)
    checkpoints = kinds[kind]
    try:
        notes = checkpoints.notes(step)
        image_shape = tuple(notes["image_shape"])
        mesh = make_mesh()
        targets = notes["targets"] and TargetScale(
            **{key: np.array(value, np.float32) for key, value in notes["targets"].items()}
        )
        outputs = targets.mean.size if targets else len(notes["class_names"])
        model = model_for(config, image_shape, outputs)
        length = RunLength.of(config, notes["examples"])
        schedule = create_schedule(config.schedule.to_dict(), length)
        recipe = recipe_for(config, model, image_shape, targets, length, schedule)
        like = abstract_state(model, recipe, image_shape, replicated(mesh))
        state, _ = checkpoints.restore(step, like)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{checkpoints.directory / str(step)} is damaged ({type(error).__name__}); "
            f"--checkpoint takes best, latest, or one of the steps {', '.join(map(str, everything))}"
        ) from error
    return SavedRun(
        config=config,
        model=model,
        state=state,
        class_names=tuple(notes["class_names"]),
        image_shape=image_shape,
        mean=np.array(notes["mean"], np.float32),
        std=np.array(notes["std"], np.float32),
        pixel_dtype=notes["pixels"],
        targets=targets,
        fingerprint=notes["fingerprint"],
        recipe=recipe,
        mesh=mesh,
    )
