"""The training loop."""

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.data.dataset import Dataset
from jaxcnn.layout import Layout
from jaxcnn.train.engine import create_engine
from jaxcnn.train.evaluate import Evaluator
from jaxcnn.train.experiment import Experiment, create_feed
from jaxcnn.train.history import History
from jaxcnn.train.judge import DivergedError, Judge, divergence_advice
from jaxcnn.train.keeping import Keeper
from jaxcnn.train.observers import Start
from jaxcnn.train.preemption import Preemption
from jaxcnn.train.state import count_parameters, evaluation_variables, init_state, non_finite
from jaxcnn.train.step import make_train_step
from jaxcnn.train.workdir import Workdir


class Run:
    """One run, from its newest checkpoint or from scratch to its end."""

    def __init__(
        self,
        config: ConfigDict,
        directory: Workdir,
        dataset: Dataset,
        layout: Layout,
        experiment: Experiment,
        observers: Iterable[Any],
    ):
        self.config, self.dataset, self.experiment = config, dataset, experiment
        self.layout, self.directory, self.length = layout, directory, experiment.length
        self.feed = create_feed(config, dataset, experiment, layout)
        self.evaluator = Evaluator(experiment, self.feed, config.eval.global_batch_size)
        self.judge = Judge(config, experiment.schedule)
        self.history = History(observers, experiment.length)

    def begin(self, pretrained: Mapping | None = None) -> None:
        """Restores or initialises the state, notifies the observers and compiles the step."""
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
        """Trains until the run ends or is stopped; returns its status."""
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
                    raise self._divergence("the loss", *reading.divergence)
                if (save or validate) and (array := non_finite(engine.state)):
                    raise self._divergence(array, self.step, engine.learning_rate())
                # A preempted run keeps the statistics of its last evaluation.
                if validate or (save and not preempted):
                    engine.state = self.evaluator.with_batch_stats(engine.state, self.step)
                stopped = self._report(reading.values, speed, validate, save)
                since, since_step = time.perf_counter(), self.step
            self.preempted = preemption.requested
        engine.close()
        self.keeper.wait()
        if self.step == total_steps:
            return "completed"
        return "early_stopped" if self.judge.should_stop else "stopped" if stopped else "preempted"

    def _report(self, values: dict, speed: float, validate: bool, save: bool) -> bool:
        """Validates, reports and saves as due; returns whether an observer asks to stop."""
        validation = self._validate() if validate else None
        try:
            stopped = self.history.lines(self.step, values, speed, validation, self.judge.scale)
        except Exception:  # raised by an observer; the run ends, and can be resumed from here
            self.keeper.save_latest(self.step, self.engine.state)
            self.keeper.wait()
            raise
        if save or stopped or self.judge.should_stop:
            self.keeper.save_latest(self.step, self.engine.state)
        return stopped

    def _validate(self) -> tuple[dict, bool] | None:
        """Evaluates on the validation split; returns the metrics and whether they are the best."""
        if "validation" not in self.dataset.splits:
            return None
        values = self.evaluator.on("validation", evaluation_variables(self.engine.state))
        self._require_finite({"validation": values})
        verdict = self.judge.judge(values, self.step > self.length.warmup)
        if verdict.reduce:
            self.engine.scale_learning_rate(self.judge.scale)
        if verdict.best:
            self.keeper.save_best(self.step, self.engine.state, values)
        return values, verdict.best

    def finish(self, status: str) -> dict:
        """Evaluates the final and the best weights, writes the result, notifies the observers."""
        final = best = None
        if status in ("completed", "early_stopped"):
            final = self.evaluator.held_out(evaluation_variables(self.engine.state))
            best = self.keeper.best() and self.evaluator.held_out(self.keeper.best_variables())
            for evaluated in (final, best or {}):
                self._require_finite(evaluated)
        result = self.keeper.result(status, self.step, self.parameters, final, best)
        self.directory.write_result(result)
        self.history.end(result)
        return result

    def close(self) -> None:
        """Closes all open parts, whether or not the run has begun."""
        for part in ("engine", "history", "keeper"):
            if hasattr(self, part):
                getattr(self, part).close()

    def _require_finite(self, evaluated: Mapping[str, dict]) -> None:
        for split, values in evaluated.items():
            if not math.isfinite(values["loss"]):
                rate = self.engine.learning_rate()
                raise self._divergence(f"the {split} loss", self.step, rate)

    def _divergence(self, what: str, step: int, rate: float) -> DivergedError:
        self.finish("diverged")
        return DivergedError(divergence_advice(what, step, rate, self.keeper.latest_step()))
