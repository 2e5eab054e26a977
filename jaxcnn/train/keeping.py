"""What of a run is kept: its latest checkpoints, its best one, and what is noted beside the state."""

import logging
from collections.abc import Mapping
from typing import Any

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError
from jaxcnn.layout import Layout
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.experiment import Experiment
from jaxcnn.train.judge import Judge
from jaxcnn.train.state import (
    TrainState,
    abstract_state,
    evaluation_parts,
    evaluation_variables,
)
from jaxcnn.train.workdir import Workdir

log = logging.getLogger(__name__)


class Keeper:
    """Saves the states of one run and finds them again."""

    def __init__(
        self,
        directory: Workdir,
        dataset: Dataset,
        experiment: Experiment,
        layout: Layout,
        judge: Judge,
    ):
        self.seconds = 0.0  # of training, in all starts of the run
        self._directory, self._judge, self._spec = directory, judge, dataset.spec
        self._fingerprint = dataset.fingerprint()
        self._latest = Checkpoints(directory.latest, keep=2)
        self._best = Checkpoints(directory.best, keep=1)
        self._batch_size = experiment.length.batch_size
        model, recipe = experiment.model, experiment.recipe
        self._like = abstract_state(model, recipe, dataset.spec.image_shape, layout)

    def resumed(self) -> TrainState | None:
        """The newest state that can be read, and the judge as it was then; None for a new run.

        Raises:
          UserError: the data has changed since, or no checkpoint can be read.
        """
        resumed = self._latest.restore_newest(self._like, self._check_same_data)
        self._judge.best = self._metrics_of_best()
        if resumed is None:
            return None
        state, notes = resumed
        self.seconds = notes["seconds"]
        self._judge.restore(notes["reactions"])
        log.info("resuming %s at step %d", self._directory.path, int(state.step))
        return state

    def save_latest(self, step: int, state: TrainState) -> None:
        """Starts to save a state to resume from."""
        self._latest.save(step, state, self._notes())

    def save_best(self, step: int, state: TrainState, values: Mapping) -> None:
        """Saves a state whose validation metrics are the best so far.

        It is on disk before the latest is begun: a run killed between the two comes by this step again.
        """
        self._best.save(step, state, {**self._notes(), "validation": dict(values)})
        self._best.wait()

    def latest_step(self) -> int | None:
        steps = self._latest.steps()
        return steps[-1] if steps else None

    def best(self) -> dict | None:
        """The best evaluation so far: its step, and its metrics on the validation split."""
        steps = self._best.steps()
        return {"step": steps[-1], "validation": self._judge.best} if steps else None

    def best_variables(self) -> dict[str, Any]:
        """What the best checkpoint is evaluated with."""
        return restored_variables(self._best, self._best.steps()[-1], self._like)

    def result(
        self, status: str, step: int, parameters: int, final: dict | None, best: dict | None
    ) -> dict:
        """What `result.json` holds.

        Args:
          final, best: the metrics of the last and of the best weights by split; None where they were
            not evaluated, or where there is no best one.
        """
        final = final and {"step": step, **final}
        kept = self.best()
        return {
            "status": status,
            "steps": step,
            "best": {**kept, **(best or {})} if kept else final,
            "final": final,
            "parameters": parameters,
            "images": step * self._batch_size,
            "seconds": round(self.seconds, 3),
        }

    def wait(self) -> None:
        """Blocks until all is on disk."""
        self._latest.wait()
        self._best.wait()

    def close(self) -> None:
        self._latest.close()
        self._best.close()

    def _notes(self) -> dict:
        """What a checkpoint holds beside the state: all that using it needs, without the data."""
        return {
            "seconds": self.seconds,
            "reactions": self._judge.state(),
            "data": self._spec.to_json(),
            "fingerprint": self._fingerprint,
        }

    def _check_same_data(self, notes: dict) -> None:
        if notes["fingerprint"] != self._fingerprint:
            raise UserError(
                f"workdir={self._directory.path} holds a run on other data: the images or labels of "
                "its source have changed since; take another workdir, or overwrite=True to start anew"
            )

    def _metrics_of_best(self) -> dict | None:
        try:
            best = self._best.restore_newest(self._like)
        except UserError:
            log.warning("the best checkpoint so far is damaged; the best is chosen anew from here")
            self._best.set_all_aside()
            return None
        return best and best[1]["validation"]


def restored_variables(checkpoints: Checkpoints, step: int, like: TrainState) -> dict[str, Any]:
    """{'params', 'batch_stats'} to evaluate with, of a checkpoint; its other parts are not read."""
    parts = checkpoints.restore_parts(step, evaluation_parts(like))
    absent = {"averaged_params": None, "eval_batch_stats": None, "opt_state": ()}
    return evaluation_variables(like.replace(**{**absent, **parts}, step=None, rng=None))


def spec_of(notes: Mapping) -> DataSpec:
    """The description of a run's data in a checkpoint's notes."""
    if "data" in notes:
        return DataSpec.from_json(notes["data"])
    described = {**notes, "pixel_dtype": notes["pixels"], "sizes": {"train": notes["examples"]}}
    return DataSpec.from_json(described)  # of version 0.1.0
