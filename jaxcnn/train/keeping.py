"""The checkpoints of a run: latest and best states, with notes for using them."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jaxcnn import hosts
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.spec import DataSpec
from jaxcnn.files import storage_problem
from jaxcnn.layout import Layout
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.damage import DamagedError
from jaxcnn.train.engine import Engine
from jaxcnn.train.experiment import Experiment
from jaxcnn.train.judge import DivergedError, Judge, divergence_advice
from jaxcnn.train.resuming import check_same_data, check_same_replicas
from jaxcnn.train.state import (
    TrainState,
    abstract_state,
    evaluation_parts,
    evaluation_variables,
)
from jaxcnn.train.workdir import Workdir

log = logging.getLogger(__name__)


class Keeper:
    """Saves and restores the states of one run."""

    def __init__(
        self,
        directory: Workdir,
        dataset: Dataset,
        experiment: Experiment,
        layout: Layout,
        judge: Judge,
    ):
        self.seconds = 0.0  # of training, over all starts of the run
        self.parts: list[float] | None = None  # of a training line that the checkpoint interrupts
        self.rollbacks = 0  # so far
        self._directory, self._judge, self._spec = directory, judge, dataset.spec
        self._fingerprint = dataset.fingerprint()
        self._latest = Checkpoints(
            directory.latest, keep=2, scheduled=lambda step: experiment.agenda.due(step).save
        )
        self._best = Checkpoints(directory.best, keep=1)
        self._all = [self._latest, self._best]
        if moments := experiment.agenda.snapshots.steps:
            self._snapshots = Checkpoints(directory.snapshots, keep=len(moments))
            self._all.append(self._snapshots)
        self._batch_size = experiment.length.batch_size
        model, recipe = experiment.model, experiment.recipe
        self._model = model
        self._like = abstract_state(model, recipe, dataset.spec.image_shape, layout)

    def resumed(self) -> TrainState | None:
        """The newest readable state; None for a new run. Restores the judge with it.

        Raises:
          UserError: the data has changed, or the number of devices where it must not; or no
            checkpoint can be read.
        """
        resumed = self._latest.restore_newest(self._like, self._check_notes)
        self._judge.best = self._metrics_of_best()
        if resumed is None:
            return None
        state, notes = resumed
        self.seconds, self.parts = notes["seconds"], notes.get("metrics")
        self.rollbacks = notes.get("rollbacks", 0)
        self._judge.restore(notes["reactions"])
        log.info("resuming %s at step %d", self._directory.path, int(state.step))
        return state

    def save_latest(self, step: int, state: TrainState, parts: list[float] | None = None) -> None:
        """Starts to save a state to resume from, and the parts of a training line yet to be written."""
        self._directory.sync_metrics()
        notes = self._notes()
        self._latest.save(step, state, notes if parts is None else {**notes, "metrics": parts})

    @contextmanager
    def saved_on_error(self, step: int, engine: Engine) -> Iterator[None]:
        """A context for the observers: an exception in it leaves a checkpoint of the step.

        Not if the storage refuses a line, which a run resumed from that step would never write; and
        not with several processes, where a save is everyone's and the others do not know.
        """
        try:
            yield
        except Exception as error:
            if hosts.count() > 1 or storage_problem(error):
                raise
            parts = next((reading.parts for reading in engine.peek()), None)
            self.save_latest(step, engine.state, parts)
            self.wait()
            raise

    def save_best(self, step: int, state: TrainState, values: Mapping) -> None:
        """Saves the state with the best validation metrics so far; returns once it is on disk.

        The latest checkpoint is saved afterwards, so a run killed in between repeats this step.
        """
        self._best.save(step, state, {**self._notes(), "validation": dict(values)})
        self._best.wait()

    def save_snapshot(self, step: int, state: TrainState) -> None:
        """Saves a state for an ensemble; returns once it is on disk, as with the best."""
        self._snapshots.save(step, state, self._notes())
        self._snapshots.wait()

    def discard_after_scheduled(self) -> None:
        """Removes what is newer than the newest checkpoint that the config asks for."""
        self.wait()
        step = self._latest.last_scheduled() or 0
        for checkpoints in self._all:
            checkpoints.discard_after(step)

    @property
    def learning_rate_scale(self) -> float | None:
        """The factor of a plateau and of rollbacks on the schedule; None without either."""
        if self._judge.scale is None and not self.rollbacks:
            return None
        return (self._judge.scale or 1.0) * 0.5**self.rollbacks

    def divergence(self, what: str, step: int, learning_rate: float) -> DivergedError:
        """The error for a loss or array that is no longer finite."""
        return DivergedError(divergence_advice(what, step, learning_rate, self.latest_step()), step)

    def latest_step(self) -> int | None:
        steps = self._latest.steps()
        return steps[-1] if steps else None

    def best(self) -> dict | None:
        """The step and validation metrics of the best checkpoint; None if there is none."""
        steps = self._best.steps()
        return {"step": steps[-1], "validation": self._judge.best} if steps else None

    def best_variables(self) -> dict[str, Any]:
        """The evaluation variables of the best checkpoint."""
        return restored_variables(self._best, self._best.steps()[-1], self._like)

    def result(
        self, status: str, step: int, parameters: int, final: dict | None, best: dict | None
    ) -> dict:
        """The content of `result.json`.

        Args:
          final, best: the metrics of the final and best weights, by split; None if they were not
            evaluated, or if there is no best checkpoint.
        """
        final = final and {"step": step, **final}
        best_checkpoint = self.best()
        return {
            "status": status,
            "steps": step,
            "best": {**best_checkpoint, **(best or {})} if best_checkpoint else final,
            "final": final,
            "parameters": parameters,
            "images": step * self._batch_size,
            "seconds": round(self.seconds, 3),
        }

    def wait(self) -> None:
        """Blocks until all checkpoints are on disk."""
        for checkpoints in self._all:
            checkpoints.wait()

    def close(self) -> None:
        for checkpoints in self._all:
            checkpoints.close()

    def _notes(self) -> dict:
        """The notes of a checkpoint: everything needed to use it without the data."""
        return {
            "seconds": self.seconds,
            "rollbacks": self.rollbacks,
            "reactions": self._judge.state(),
            "data": self._spec.to_json(),
            "fingerprint": self._fingerprint,
            "replicas": self._model.replicas,
        }

    def _check_notes(self, notes: dict) -> None:
        check_same_data(notes["fingerprint"], self._fingerprint, self._directory)
        check_same_replicas(notes.get("replicas"), self._model, self._directory)

    def _metrics_of_best(self) -> dict | None:
        try:
            best = self._best.restore_newest(self._like)
        except DamagedError:
            log.warning("the best checkpoint so far is damaged; the best is chosen anew from here")
            self._best.set_all_aside()
            return None
        return best and best[1]["validation"]


def restored_variables(checkpoints: Checkpoints, step: int, like: TrainState) -> dict[str, Any]:
    """The evaluation variables {'params', 'batch_stats'} of a checkpoint; reads only these."""
    parts = checkpoints.restore_parts(step, evaluation_parts(like))
    absent = {"averaged_params": None, "eval_batch_stats": None, "opt_state": ()}
    return evaluation_variables(like.replace(**{**absent, **parts}, step=None, rng=None))


def spec_of(notes: Mapping) -> DataSpec:
    """The data specification in a checkpoint's notes."""
    if "data" in notes:
        return DataSpec.from_json(notes["data"])
    described = {**notes, "pixel_dtype": notes["pixels"], "sizes": {"train": notes["examples"]}}
    return DataSpec.from_json(described)  # written by version 0.1.0
