"""The story of a run."""

import logging
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcnn import hosts
from jaxcnn.data.dataset import Dataset, load_dataset
from jaxcnn.layout import Layout
from jaxcnn.train.engine import create_engine
from jaxcnn.train.evaluate import Evaluator
from jaxcnn.train.experiment import Experiment, check_trainable, create_feed, resolve
from jaxcnn.train.history import History, own_observers
from jaxcnn.train.judge import DivergedError, Judge, divergence_advice
from jaxcnn.train.keeping import Keeper
from jaxcnn.train.observers import Start, create_observers
from jaxcnn.train.preemption import Preemption
from jaxcnn.train.pretrained import load_pretrained
from jaxcnn.train.resuming import check_continues, finished, former_config
from jaxcnn.train.state import count_parameters, evaluation_variables, init_state
from jaxcnn.train.step import make_train_step
from jaxcnn.train.workdir import Workdir

log = logging.getLogger(__name__)


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
      observers: with methods of `observers.Observer`, beside those that the config names.
      overwrite: removes a run that is there, and starts anew.

    Returns:
      What `result.json` holds.

    Raises:
      UserError: the config, the data or the workdir is wrong; nothing has been written then.
      DivergedError: the loss became NaN or infinite; the last good checkpoint is kept.
    """
    hosts.require_one()
    config, directory = resolve(config), Workdir(workdir)
    former = None if overwrite else former_config(config, directory)
    longer = former is not None and former.train.duration != config.train.duration
    if former is not None and not longer and (result := finished(directory)):
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
        return run.finish(run.train())


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
        self.layout, self.directory, self.length = layout, directory, experiment.length
        self.feed = create_feed(config, dataset, experiment, layout)
        self.evaluator = Evaluator(experiment, self.feed, config.eval.global_batch_size)
        self.judge = Judge(config, experiment.schedule)
        self.history = History([*own_observers(directory), *observers], experiment.length)

    def begin(self, pretrained: Mapping | None = None) -> None:
        """Restores or initialises the state, tells the observers of the start, compiles the step."""
        experiment, spec, layout = self.experiment, self.dataset.spec, self.layout
        model, recipe = experiment.model, experiment.recipe
        self.keeper = Keeper(self.directory, self.dataset, experiment, layout, self.judge)
        state = self.keeper.resumed()
        if state is None:
            seed = self.config.seed
            state = init_state(model, recipe, spec.image_shape, seed, layout, pretrained)
        self.step, self.parameters = int(state.step), count_parameters(state)
        self.engine = create_engine(make_train_step(model), state, recipe, self.feed)
        self.history.start(
            Start.of(
                self.config, self.directory.path, self.dataset, experiment.augmentations, self.step,
                total_steps=self.length.steps, parameters=self.parameters,
                devices=layout.replicas, rules=experiment.rules,
            )
        )  # fmt: skip
        self.engine.compile()

    def train(self) -> str:
        """Trains with the compiled step until something ends the run; returns its status then."""
        experiment, engine, total_steps = self.experiment, self.engine, self.length.steps
        events = experiment.log, experiment.eval, experiment.checkpoint
        preempted = stopped = False
        with Preemption() as preemption:
            engine.start(self.step)
            since, since_step = time.perf_counter(), self.step
            while self.step < total_steps and not (preempted or stopped or self.judge.should_stop):
                until = min(total_steps, *(event.next_after(self.step) for event in events))
                self.step += engine.advance(until - self.step)
                self.history.steps(self.step)
                preempted = preemption.requested
                is_last = self.step == total_steps
                save = preempted or is_last or experiment.checkpoint.due(self.step)
                validate = is_last or experiment.eval.due(self.step)
                if not (save or validate or experiment.log.due(self.step)):
                    continue
                (reading,) = engine.read()
                seconds = time.perf_counter() - since
                self.keeper.seconds += seconds
                speed = (self.step - since_step) * self.length.batch_size / seconds
                if reading.divergence:
                    raise self._divergence(*reading.divergence)
                # A run that was told to stop keeps the statistics of the evaluation before.
                if validate or (save and not preempted):
                    engine.state = self.evaluator.with_batch_stats(engine.state, self.step)
                stopped = self._report(reading.values, speed, validate, save)
                since, since_step = time.perf_counter(), self.step
        engine.close()
        self.keeper.wait()
        ended = "stopped" if stopped else "preempted"
        ended = "early_stopped" if self.judge.should_stop else ended
        return "completed" if self.step == total_steps else ended

    def _report(self, values: dict, speed: float, validate: bool, save: bool) -> bool:
        """Validates, tells and saves, as is due; True where an observer wants the run to stop."""
        validation = self._validate() if validate else None
        try:
            stopped = self.history.lines(self.step, values, speed, validation, self.judge.scale)
        except Exception:  # an observer's, which ends the run; it can be resumed from here
            self.keeper.save_latest(self.step, self.engine.state)
            self.keeper.wait()
            raise
        if save or stopped or self.judge.should_stop:
            self.keeper.save_latest(self.step, self.engine.state)
        return stopped

    def _validate(self) -> tuple[dict, bool] | None:
        """Evaluates on the validation split: the metrics, and whether they are the best so far."""
        if "validation" not in self.dataset.splits:
            return None
        values = self.evaluator.on("validation", evaluation_variables(self.engine.state))
        if not math.isfinite(values["loss"]):
            raise self._divergence(self.step, self.engine.learning_rate())
        verdict = self.judge.judge(values, self.step > self.length.warmup)
        if verdict.reduce:
            self.engine.scale_learning_rate(self.judge.scale)
        if verdict.best:
            self.keeper.save_best(self.step, self.engine.state, values)
        return values, verdict.best

    def finish(self, status: str) -> dict:
        """Evaluates the final and the best weights, writes the result, tells of the end."""
        final = best = None
        if status in ("completed", "early_stopped"):
            final = self.evaluator.held_out(evaluation_variables(self.engine.state))
            best = self.keeper.best() and self.evaluator.held_out(self.keeper.best_variables())
        result = self.keeper.result(status, self.step, self.parameters, final, best)
        self.directory.write_result(result)
        self.history.end(result)
        return result

    def close(self) -> None:
        """Closes what is open, of a run that has begun or not."""
        for part in ("engine", "history", "keeper"):
            if hasattr(self, part):
                getattr(self, part).close()

    def _divergence(self, step: int, rate: float) -> DivergedError:
        self.finish("diverged")
        return DivergedError(divergence_advice(step, rate, self.keeper.latest_step()))
