"""The training loop."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxcnn import hosts
from jaxcnn.data.dataset import Dataset
from jaxcnn.layout import Layout
from jaxcnn.train.engine import create_engine
from jaxcnn.train.evaluate import Evaluator
from jaxcnn.train.experiment import Experiment, create_feed
from jaxcnn.train.history import History
from jaxcnn.train.judge import DivergedError, Judge, non_finite_loss
from jaxcnn.train.keeping import Keeper
from jaxcnn.train.metrics import Reading
from jaxcnn.train.monitor import Monitor
from jaxcnn.train.observers import Start
from jaxcnn.train.preemption import Preemption
from jaxcnn.train.probing import on_features
from jaxcnn.train.rollback import roll_back
from jaxcnn.train.state import TrainState, evaluation_variables, init_state, non_finite
from jaxcnn.train.step import make_train_step
from jaxcnn.train.workdir import COMPLETE, Workdir


class Run:
    """One run, from its newest checkpoint or from scratch to its end."""

    def __init__(
        self, config: ConfigDict, directory: Workdir, dataset: Dataset, layout: Layout,
        experiment: Experiment, observers: Iterable[Any], pretrained: Mapping | None = None,
    ):  # fmt: skip
        self.config, self.dataset, self.experiment = config, dataset, experiment
        self.layout, self.directory, self.pretrained = layout, directory, pretrained
        self.feed = create_feed(config, dataset, experiment, layout)
        self.history = History(observers, experiment.length)
        self.length, self.preempted, self.stopped = experiment.length, False, False

    def begin(self) -> None:
        """Restores or initialises the state, notifies the observers and compiles the step."""
        state = self.restored_or_new()
        step, options = make_train_step(self.experiment.model), self.experiment.compiler_options
        self.engine = create_engine(step, state, self.experiment.recipe, self.feed, options)
        self.notify_start()
        self.engine.compile()
        self.engine.go_on_from([self.keeper.parts])

    def restored_or_new(self) -> TrainState:
        """The state of the newest checkpoint, or that of step 0; also the parts that need it."""
        experiment, spec, layout = self.experiment, self.dataset.spec, self.layout
        self.judge = Judge(self.config, experiment.schedule)
        self.keeper = Keeper(self.directory, self.dataset, experiment, layout, self.judge)
        state = self.keeper.resumed()
        if state is None:
            model, recipe, seed = experiment.model, experiment.recipe, self.config.seed
            state = init_state(model, recipe, spec.image_shape, seed, layout, self.pretrained)
        self.step, self.parameters = int(state.step), state.count_parameters()
        self.experiment, self.feed = on_features(self.config, experiment, self.feed, state)
        self.evaluator = Evaluator(self.experiment, self.feed, self.config.eval.global_batch_size)
        self.monitor = Monitor(self.experiment, self.feed, self.config.monitor.histograms)
        return state

    def notify_start(self) -> None:
        """Tells the observers that the run begins."""
        start = Start.of(
            self.config, self.directory.path, self.dataset, self.experiment.augmentations,
            self.step, total_steps=self.length.steps, parameters=self.parameters,
            devices=self.layout.replicas, rules=self.experiment.rules,
        )  # fmt: skip
        self.stopped = hosts.from_primary(lambda: self.history.start(start))
        self.restart_clock()

    def restart_clock(self) -> None:
        """Measures the speed from this step on."""
        self._since, self._since_step = time.perf_counter(), self.step

    def complete(self) -> dict:
        """Trains, evaluates the weights and writes the result, which it returns.

        Raises:
          DivergedError: the loss or the weights are no longer finite; the result says so.
        """
        try:
            return self.finish(self.train())
        except DivergedError:
            self.finish("diverged")
            raise

    def train(self) -> str:
        """Trains until the run ends or is stopped; returns its status."""
        with Preemption() as preemption:
            vote = hosts.Vote()
            self.engine.start(self.step)
            self.restart_clock()
            while not self.over:
                taken = self.engine.advance(self.next_event() - self.step)
                if self.arrive(taken, vote.cast(preemption.requested)):
                    (reading,) = self.engine.read()
                    try:
                        self.review(reading)
                    except DivergedError as error:
                        roll_back(self, error)
            self.preempted = hosts.any_of(preemption.requested)
        self.engine.close()
        return self.status()

    @property
    def over(self) -> bool:
        """Whether the last step is taken, or someone has stopped the run."""
        ended = self.step == self.length.steps or self.judge.should_stop
        return ended or self.stopped or self.preempted

    def next_event(self) -> int:
        """The next step at which something is due."""
        return self.experiment.agenda.next_after(self.step)

    def arrive(self, taken: int, preempted: bool) -> bool:
        """Counts steps that were taken; returns whether anything is to be done after them."""
        self.step, self.preempted = self.step + taken, preempted
        with self.keeper.saved_on_error(self.step, self.engine):
            self.history.steps(self.step)
        self._due = self.experiment.agenda.due(self.step)
        return self._due.line or preempted

    def review(self, reading: Reading) -> None:
        """Checks, evaluates, reports and saves, as due after the last steps.

        Raises:
          DivergedError: the loss or the weights are no longer finite.
        """
        engine, due, save = self.engine, self._due, self._due.save or self.preempted
        seconds = time.perf_counter() - self._since
        self.keeper.seconds += seconds
        speed = (self.step - self._since_step) * self.length.batch_size / seconds
        if reading.divergence:
            raise self.keeper.divergence("the loss", *reading.divergence)
        if (save or due.validation) and (array := hosts.first_of(non_finite(engine.state))):
            raise self.keeper.divergence(array, self.step, engine.learning_rate())
        # A preempted run keeps the statistics of its last evaluation.
        if due.validation or (save and not self.preempted):
            engine.state = self.evaluator.with_batch_stats(engine.state, self.step)
        metrics = self._validation() if due.validation else None
        layers = self.monitor.layers(engine.state, self.step) if due.monitor else None
        if due.line:
            scale = self.keeper.learning_rate_scale
            with self.keeper.saved_on_error(self.step, self.engine):
                line = self.step, reading.values, speed, metrics, scale, layers
                self.stopped = hosts.from_primary(lambda: self.history.lines(*line))
        if due.snapshot:
            self.keeper.save_snapshot(self.step, engine.state)
        if save or self.over:
            self.keeper.save_latest(self.step, engine.state, None if due.line else reading.parts)
        self.restart_clock()

    def status(self) -> str:
        """Waits for the checkpoints; returns why training ended."""
        self.keeper.wait()
        if self.step == self.length.steps:
            return "completed"
        early = self.judge.should_stop
        return "early_stopped" if early else "stopped" if self.stopped else "preempted"

    def _validation(self) -> tuple[dict, bool] | None:
        """Evaluates on the validation split; returns the metrics and whether they are the best."""
        if "validation" not in self.dataset.splits:
            return None
        values = self.evaluator.on("validation", evaluation_variables(self.engine.state))
        self._require_finite({"validation": values})
        verdict = self.judge.judge(values, self.step > self.length.warmup)
        if verdict.reduce:
            self.engine.scale_learning_rate(self.keeper.learning_rate_scale)
        if verdict.best:
            self.keeper.save_best(self.step, self.engine.state, values)
        return values, verdict.best

    def finish(self, status: str) -> dict:
        """Evaluates the final and the best weights, writes the result, notifies the observers."""
        final = best = None
        if status in COMPLETE:
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
        if what := non_finite_loss(evaluated):
            raise self.keeper.divergence(what, self.step, self.engine.learning_rate())
