"""The story of a run."""

import itertools
import logging
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxcnn import hosts
from jaxcnn.data.dataset import Dataset, load_dataset
from jaxcnn.data.feeding.preparation import first_images
from jaxcnn.errors import UserError
from jaxcnn.layout import Layout
from jaxcnn.train.batch_stats import make_statistics_step, reestimate
from jaxcnn.train.engine import create_engine
from jaxcnn.train.evaluate import evaluate
from jaxcnn.train.experiment import Experiment, check_trainable, create_feed, resolve
from jaxcnn.train.history import History
from jaxcnn.train.judge import Judge
from jaxcnn.train.keeping import Keeper
from jaxcnn.train.metrics import Reading
from jaxcnn.train.observers import Start, create_observers
from jaxcnn.train.observers.console import Console, ProgressBar
from jaxcnn.train.observers.files import Curves, MetricsFile
from jaxcnn.train.observers.tensorboard import TensorBoard
from jaxcnn.train.preemption import Preemption
from jaxcnn.train.pretrained import load_pretrained
from jaxcnn.train.resuming import check_continues, check_same_run
from jaxcnn.train.state import (
    evaluation_variables,
    init_state,
    learning_rate_of,
    with_learning_rate_scale,
)
from jaxcnn.train.step import make_eval_step, make_train_step
from jaxcnn.train.workdir import Workdir

log = logging.getLogger(__name__)


class DivergedError(UserError):
    """The loss or the gradient is no longer finite."""


def train(
    config: ConfigDict,
    workdir: str | Path,
    dataset: Dataset | None = None,
    observers: Iterable[Any] = (),
    overwrite: bool = False,
) -> dict:
    """Trains from a config, or goes on with the run that the workdir holds.

    Args:
      config: from `load_config`, or made in Python from `default_config()`.
      workdir: where everything goes; a run of the same config in it is resumed.
      dataset: data in memory, in place of what `config.data` names.
      observers: objects with methods of `observers.Observer`, beside those that the config names.
      overwrite: removes a run that is there, and starts anew.

    Returns:
      What `result.json` holds.

    Raises:
      UserError: the config, the data or the workdir is wrong; nothing has been written then.
      DivergedError: the loss became NaN or infinite; the last good checkpoint is kept.
    """
    hosts.require_one()
    config, directory = resolve(config), Workdir(workdir)
    former = None
    if not overwrite:
        directory.check()
        former = directory.read_config() if directory.config.exists() else None
    longer = former is not None and former.train.duration != config.train.duration
    if former is not None:
        check_same_run(former, config, directory)
        result = directory.read_result()
        if result and result["status"] in ("completed", "early_stopped") and not longer:
            log.info("%s holds the finished run of this config; nothing to do", workdir)
            return result

    dataset = dataset or load_dataset(config.data.to_dict())
    layout = Layout.over_all_devices()
    experiment = Experiment.of(config, dataset.spec, layout)
    check_trainable(config, experiment, dataset.spec, layout)
    if longer:
        check_continues(Experiment.of(former, dataset.spec, layout), experiment, config)
    observers = [*create_observers(config.observers), *observers]
    run = Run(config, directory, dataset, layout, experiment, observers)
    resumes = not overwrite and directory.has_checkpoint()
    pretrained = None if resumes else load_pretrained(config, experiment.model, dataset.spec)
    directory.create(config, overwrite)
    with closing(run):
        run.begin(pretrained)
        return run.run()


class Run:
    """One run, from its newest checkpoint (or from nothing) to its end."""

    def __init__(
        self,
        config: ConfigDict,
        directory: Workdir,
        dataset: Dataset,
        layout: Layout,
        experiment: Experiment,
        observers: Iterable[Any] = (),
    ):
        self.config, self.dataset, self.experiment = config, dataset, experiment
        self.layout, self.directory, self.total_steps = layout, directory, experiment.length.steps
        self.feed = create_feed(config, dataset, experiment, layout)
        self.scoring = layout.replicate(experiment.recipe.scoring)
        self.eval_step = jax.jit(make_eval_step(experiment.model))
        self.statistics_step = jax.jit(make_statistics_step(experiment.model))
        self.judge = Judge(config, experiment.schedule)
        files = [MetricsFile(directory), TensorBoard(directory.tensorboard), Curves(directory)]
        told = [*files, Console(), ProgressBar(), *observers]
        self.history = History(told, experiment.length)

    # --- before ---

    def begin(self, pretrained: Mapping | None = None) -> None:
        """Restores or initialises the state, compiles the step, tells the observers of the start."""
        model, recipe, spec = self.experiment.model, self.experiment.recipe, self.dataset.spec
        self.keeper = Keeper(self.directory, self.dataset, self.experiment, self.layout, self.judge)
        state = self.keeper.resumed()
        if state is None:
            seed = self.config.seed
            state = init_state(model, recipe, spec.image_shape, seed, self.layout, pretrained)
        self.step = int(state.step)
        self.parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
        self.engine = create_engine(make_train_step(model), state, recipe, self.feed)
        self.history.start(self._start())
        start = time.perf_counter()
        self.engine.compile()
        log.info("compiled the training step in %.1f s", time.perf_counter() - start)

    def run(self) -> dict:
        """Trains to the end, or to a signal; returns the result."""
        try:
            status = self.train()
        except DivergedError:
            self._finish("diverged")
            raise
        return self._finish(status)

    # --- the loop ---

    def train(self) -> str:
        """Trains with the compiled step until something ends the run; returns its status then."""
        experiment, engine = self.experiment, self.engine
        events = experiment.log, experiment.eval, experiment.checkpoint
        preempted = stopped = False
        with Preemption() as preemption:
            engine.start(self.step)
            since, since_step = time.perf_counter(), self.step
            while self.step < self.total_steps and not (
                preempted or stopped or self.judge.should_stop
            ):
                until = min(self.total_steps, *(event.next_after(self.step) for event in events))
                self.step += engine.advance(until - self.step)
                self.history.steps(self.step)
                preempted = preemption.requested
                is_last = self.step == self.total_steps
                save = preempted or is_last or experiment.checkpoint.due(self.step)
                validate = is_last or experiment.eval.due(self.step)
                if not (save or validate or experiment.log.due(self.step)):
                    continue

                (reading,) = engine.read()
                seconds = time.perf_counter() - since
                self.keeper.seconds += seconds
                speed = (self.step - since_step) * experiment.length.batch_size / seconds
                stopped = self._event(reading, speed, validate, save, preempted)
                since, since_step = time.perf_counter(), self.step
        self.keeper.wait()
        if self.step == self.total_steps:
            return "completed"
        if self.judge.should_stop:
            return "early_stopped"
        return "stopped" if stopped else "preempted"

    def _event(
        self, reading: Reading, speed: float, validate: bool, save: bool, preempted: bool
    ) -> bool:
        """Validates, saves and tells, as is due; True where an observer wants the run to stop."""
        step = self.step
        if reading.divergence:
            raise self._divergence(*reading.divergence)
        if validate or (save and not preempted):
            self._reestimate_batch_stats()
        validation = self._validate() if validate else None
        stopped = False
        try:
            self.history.training(step, reading.values, speed)
            if validation:
                stopped = self.history.validation(step, *validation, self.judge.scale)
        except Exception:  # an observer's, which ends the run; it can be resumed from here
            self.keeper.save_latest(step, self.engine.state)
            self.keeper.wait()
            raise
        if save or stopped or self.judge.should_stop:
            self.keeper.save_latest(step, self.engine.state)
        return stopped

    def _validate(self) -> tuple[dict, bool] | None:
        """Evaluates on the validation split: the metrics, and whether they are the best so far."""
        if "validation" not in self.dataset.splits:
            return None
        values = self._evaluate(evaluation_variables(self.engine.state), "validation")
        if not math.isfinite(values["loss"]):
            raise self._divergence(self.step, learning_rate_of(self.engine.state))
        verdict = self.judge.judge(values, self.step > self.experiment.length.warmup)
        if verdict.reduce:
            self.engine.state = with_learning_rate_scale(self.engine.state, self.judge.scale)
        if verdict.best:
            self.keeper.save_best(self.step, self.engine.state, values)
        return values, verdict.best

    def _reestimate_batch_stats(self) -> None:
        """Measures the statistics that evaluation uses, where the recipe says so, over an epoch.

        Not for a run that was told to stop, whose last checkpoint has those of the one before.
        """
        if self.experiment.recipe.averaging.batch_stats != "reestimated":
            return
        length, state = self.experiment.length, self.engine.state
        count = math.ceil(length.examples / length.batch_size)
        with closing(self.feed.train_batches(self.step)) as batches:
            epoch, variables = itertools.islice(batches, count), evaluation_variables(state)
            batch_stats = reestimate(self.statistics_step, variables, epoch)
        self.engine.state = state.replace(eval_batch_stats=batch_stats)

    # --- after ---

    def _finish(self, status: str) -> dict:
        """Evaluates the final and the best weights, writes the result, tells of the end."""
        best, final = self.keeper.best(), None
        if status in ("completed", "early_stopped"):
            final_variables = evaluation_variables(self.engine.state)
            final = {"step": self.step, **self._evaluate_held_out(final_variables)}
            best = (
                {**best, **self._evaluate_held_out(self.keeper.best_variables())} if best else final
            )
        result = {
            "status": status,
            "steps": self.step,
            "best": best,
            "final": final,
            "parameters": self.parameters,
            "images": self.step * self.experiment.length.batch_size,
            "seconds": round(self.keeper.seconds, 3),
        }
        self.directory.write_result(result)
        self.history.end(result)
        return result

    def close(self) -> None:
        """Closes what is open, of a run that has begun or not."""
        for part in ("engine", "history", "keeper"):
            if hasattr(self, part):
                getattr(self, part).close()

    def _evaluate_held_out(self, variables: Mapping) -> dict:
        held_out = [split for split in ("validation", "test") if split in self.dataset.splits]
        return {split: self._evaluate(variables, split) for split in held_out}

    def _evaluate(self, variables: Mapping, split: str) -> dict:
        size = self.config.eval.global_batch_size
        return evaluate(self.eval_step, variables, self.scoring, self.feed, split, size)

    def _divergence(self, step: int, learning_rate: float) -> DivergedError:
        kept = self.keeper.latest_step()
        return DivergedError(
            f"the loss became NaN or infinite at step {step} (learning rate {learning_rate:.3g}); "
            "try a smaller config.optimizer.learning_rate or a longer config.schedule.warmup; "
            + (f"the checkpoint of step {kept} is kept" if kept else "no checkpoint was saved yet")
        )

    def _start(self) -> Start:
        experiment, dataset = self.experiment, self.dataset
        return Start(
            config=self.config,
            workdir=self.directory.path,
            spec=dataset.spec,
            step=self.step,
            total_steps=self.total_steps,
            parameters=self.parameters,
            devices=self.layout.replicas,
            remarks=dataset.remarks,
            rules=experiment.rules,
            first_images=partial(first_images, dataset, experiment.augmentations, self.config.seed),
        )
