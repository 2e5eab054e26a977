"""The story of a run."""

import itertools
import logging
import math
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tqdm.contrib.logging import logging_redirect_tqdm

from jaxcnn.data.dataset import Dataset, load_dataset
from jaxcnn.errors import UserError
from jaxcnn.layout import make_mesh, replicated
from jaxcnn.optim.chain import hyperparameters
from jaxcnn.plots.curves import draw_curves
from jaxcnn.train.batch_stats import make_statistics_step, reestimate
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.evaluate import evaluate
from jaxcnn.train.experiment import Experiment, resolve
from jaxcnn.train.feed import DeviceFeed, HostFeed, feed_for
from jaxcnn.train.metrics import is_better
from jaxcnn.train.preemption import Preemption
from jaxcnn.train.pretrained import load_pretrained
from jaxcnn.train.reactions import Reactions
from jaxcnn.train.report import divergence_advice, in_words, introduce, progress_bar
from jaxcnn.train.state import TrainState, abstract_state, evaluation_variables, init_state
from jaxcnn.train.step import make_eval_step
from jaxcnn.train.workdir import MetricsWriter, Workdir

log = logging.getLogger(__name__)


class DivergedError(UserError):
    """The loss or the gradient is no longer finite."""


def train(
    config: ConfigDict,
    workdir: str | Path,
    overwrite: bool = False,
    dataset: Dataset | None = None,
) -> dict:
    """Trains from a config, or goes on with the run that the workdir holds.

    Args:
      config: from `load_config`, or made in Python from `default_config()`.
      workdir: where everything goes; a run of the same config in it is resumed.
      overwrite: removes a run that is there, and starts anew.
      dataset: data in memory, in place of what `config.data` names.

    Returns:
      What `result.json` holds.

    Raises:
      UserError: the config, the data or the workdir is wrong; nothing has been written then.
      DivergedError: the loss became NaN or infinite; the last good checkpoint is kept.
    """
    config = resolve(config)
    directory = Workdir(workdir)
    directory.check(config, overwrite)
    finished = None if overwrite else directory.read_result()
    if finished and finished["status"] in ("completed", "early_stopped"):
        log.info("%s holds the finished run of this config; nothing to do", workdir)
        return finished

    dataset = dataset or load_dataset(config.data.to_dict())
    mesh = make_mesh()
    experiment = Experiment.of(config, dataset, devices=mesh.size)
    feed = feed_for(config, dataset, experiment, mesh)
    pretrained = None
    if config.init_from and (overwrite or not directory.has_checkpoint()):
        pretrained = load_pretrained(config.init_from, experiment.model, dataset.image_shape)
    directory.create(config, overwrite)
    with closing(Run(config, directory, dataset, mesh, experiment, feed, pretrained)) as run:
        return run.run()


class Run:
    """One run, from its newest checkpoint (or from nothing) to its end."""

    def __init__(
        self,
        config: ConfigDict,
        directory: Workdir,
        dataset: Dataset,
        mesh: Mesh,
        experiment: Experiment,
        feed: HostFeed | DeviceFeed,
        pretrained: Mapping | None = None,
    ):
        self.config, self.directory, self.dataset = config, directory, dataset
        self.mesh, self.experiment, self.feed = mesh, experiment, feed
        self.batch_size, recipe = config.train.global_batch_size, experiment.recipe
        self.latest = Checkpoints(directory.latest, keep=2)
        self.best = Checkpoints(directory.best, keep=1)
        self.eval_step = jax.jit(make_eval_step(experiment.model, recipe.eval_loss, recipe.means))
        self.statistics_step = jax.jit(make_statistics_step(experiment.model))
        self.reactions = Reactions(config, experiment.schedule)
        self.seconds = 0.0
        self.fingerprint = dataset.fingerprint()
        self.state = self._initial_or_resumed_state(pretrained)
        self.step = int(self.state.step)
        self.writer = MetricsWriter(directory, self.step)
        self.best_metrics = self._metrics_of_best()
        introduce(config, dataset, experiment, self._parameters(), mesh.size)

    def run(self) -> dict:
        """Trains to the end, or to a signal; returns the result."""
        start = time.perf_counter()
        self.feed.compile(self.experiment.model, self.experiment.recipe, self.state)
        log.info("compiled the training step in %.1f s", time.perf_counter() - start)
        try:
            status = self.train()
        except DivergedError:
            self._finish("diverged")
            raise
        return self._finish(status)

    def close(self) -> None:
        self.writer.close()
        self.latest.close()
        self.best.close()

    # --- the loop ---

    def train(self) -> str:
        """Trains with the compiled step until something ends the run; returns its status then."""
        experiment, total_steps = self.experiment, self.experiment.length.steps
        events = experiment.log, experiment.eval, experiment.checkpoint
        metrics = behind = None
        stop = False
        with (
            Preemption() as preemption,
            self.feed.from_step(self.step) as advance,
            progress_bar(self.config.model.name, self.step, total_steps, self.batch_size) as bar,
            logging_redirect_tqdm(),
        ):
            since, since_step = time.perf_counter(), self.step
            while self.step < total_steps and not (stop or self.reactions.should_stop):
                until = min(total_steps, *(event.next_after(self.step) for event in events))
                self.state, metrics, taken = advance(self.state, metrics, until - self.step)
                self.step += taken
                # The device works on one dispatch while the next waits in its queue, no more: a
                # signal is answered, and the bar is true, to within two of them.
                jax.block_until_ready(behind)
                behind = metrics
                bar.update(taken * self.batch_size)

                stop = preemption.requested
                is_last = self.step == total_steps
                save = stop or is_last or experiment.checkpoint.due(self.step)
                validate = is_last or experiment.eval.due(self.step)
                if not (save or validate or experiment.log.due(self.step)):
                    continue

                values, divergence = metrics.read()
                elapsed = time.perf_counter() - since
                self.seconds += elapsed
                if divergence:
                    raise self._divergence(*divergence)
                self._report(values, (self.step - since_step) * self.batch_size / elapsed)
                metrics = None
                if validate or (save and not stop):
                    self._reestimate_batch_stats()
                if validate:
                    self._validate()
                if save or self.reactions.should_stop:
                    self.latest.save(self.step, self.state, self._notes())
                since, since_step = time.perf_counter(), self.step
        self.latest.wait()
        self.best.wait()
        if self.step == total_steps:
            return "completed"
        return "early_stopped" if self.reactions.should_stop else "preempted"

    def _report(self, values: dict, examples_per_second: float) -> None:
        """Writes a training line."""
        values = {**values, "examples_per_second": round(examples_per_second, 1)}
        self.writer.write(self.step, self._epoch(), "train", values)
        log.info(
            "step %d/%d  epoch %.2f  %s  learning rate %.3g  %.0f images/s",
            self.step,
            self.experiment.length.steps,
            self._epoch(),
            in_words(values),
            values["learning_rate"],
            examples_per_second,
        )

    def _validate(self) -> None:
        """Evaluates on the validation split; keeps the state apart where it is the best so far."""
        if "validation" not in self.dataset.splits:
            return
        values = self._evaluate(self.state, "validation")
        if not math.isfinite(values["loss"]):
            rate = hyperparameters(self.state.opt_state)["learning_rate"]
            raise self._divergence(self.step, float(jax.device_get(rate)))
        metric = self.config.checkpoint.best_metric
        best = self.best_metrics
        better = best is None or is_better(metric, values[metric], best[metric])
        reduced = self.reactions.take_in(values, self.step > self.experiment.length.warmup)
        if reduced:
            self._scale_learning_rate(self.reactions.scale)
        remarks = {
            "  (best so far)": better,
            f"  (learning rate × {self.reactions.scale})": reduced,
            "  (stopping early)": self.reactions.should_stop,
        }
        log.info(
            "validation       %s%s", in_words(values), "".join(r for r in remarks if remarks[r])
        )
        scale = {"learning_rate_scale": self.reactions.scale} if self.reactions.scale else {}
        self.writer.write(self.step, self._epoch(), "validation", {**values, **scale})
        if better:
            self.best_metrics = values
            self.best.save(self.step, self.state, {**self._notes(), "validation": values})
            # Before the latest: a run killed between the two comes by this step again.
            self.best.wait()

    def _reestimate_batch_stats(self) -> None:
        """Measures the statistics that evaluation uses, where the recipe says so, over an epoch.

        Not for a run that was told to stop, whose last checkpoint has those of the one before.
        """
        if self.experiment.recipe.averaging.batch_stats != "reestimated":
            return
        count = math.ceil(len(self.dataset.splits["train"]) / self.batch_size)
        with closing(self.feed.train_batches(self.step)) as batches:
            epoch, variables = itertools.islice(batches, count), evaluation_variables(self.state)
            batch_stats = reestimate(self.statistics_step, variables, epoch)
        self.state = self.state.replace(eval_batch_stats=batch_stats)

    def _scale_learning_rate(self, scale: float) -> None:
        opt_state = self.state.opt_state
        scale = np.asarray(scale, opt_state.scale.dtype)
        scale = jax.device_put(scale, replicated(self.mesh))
        self.state = self.state.replace(opt_state=opt_state._replace(scale=scale))

    # --- before ---

    def _initial_or_resumed_state(self, pretrained: Mapping | None) -> TrainState:
        resumed = self.latest.restore_newest(self._abstract_state(), self._check_same_data)
        if resumed is None:
            model, recipe = self.experiment.model, self.experiment.recipe
            shape, sharding = self.dataset.image_shape, replicated(self.mesh)
            return init_state(model, recipe, shape, self.config.seed, sharding, pretrained)
        state, notes = resumed
        self.seconds = notes["seconds"]
        self.reactions.restore(notes["reactions"])
        log.info("resuming %s at step %d", self.directory.path, int(state.step))
        return state

    def _check_same_data(self, notes: dict) -> None:
        if notes["fingerprint"] != self.fingerprint:
            raise UserError(
                f"--workdir={self.directory.path} holds a run on other data: the images or labels of "
                "its source have changed since; take another workdir, or --overwrite to start anew"
            )

    def _metrics_of_best(self) -> dict | None:
        try:
            best = self.best.restore_newest(self._abstract_state())
        except UserError:
            log.warning("the best checkpoint so far is damaged; the best is chosen anew from here")
            self.best.set_all_aside()
            return None
        return best and best[1]["validation"]

    # --- after ---

    def _finish(self, status: str) -> dict:
        """Evaluates the final and the best weights, draws the curves, writes the result."""
        steps = self.best.steps()
        best = {"step": steps[-1], "validation": self.best_metrics} if steps else None
        draw_curves(
            self.directory.read_metrics(),
            self.directory.curves,
            f"{self.config.model.name} on {self._data_name()}",
            best and best["step"],
            stopped_early=status == "early_stopped",
        )
        final = None
        if status in ("completed", "early_stopped"):
            final = {"step": self.step, **self._evaluate_held_out(self.state)}
            best = {**best, **self._evaluate_held_out(self._best_state())} if best else final
        result = {
            "status": status,
            "steps": self.step,
            "best": best,
            "final": final,
            "parameters": self._parameters(),
            "images": self.step * self.batch_size,
            "seconds": round(self.seconds, 3),
        }
        self.directory.write_result(result)
        return result

    def _best_state(self) -> TrainState:
        """The weights of the best checkpoint."""
        return self.best.restore(self.best.steps()[-1], self._abstract_state())[0]

    def _abstract_state(self) -> TrainState:
        experiment, shape = self.experiment, self.dataset.image_shape
        return abstract_state(experiment.model, experiment.recipe, shape, replicated(self.mesh))

    def _evaluate_held_out(self, state: TrainState) -> dict:
        return {
            split: self._evaluate(state, split)
            for split in ("validation", "test")
            if split in self.dataset.splits
        }

    def _evaluate(self, state: TrainState, split: str) -> dict:
        batch_size = self.config.eval.global_batch_size
        variables = evaluation_variables(state)
        return evaluate(self.eval_step, variables, self.feed, split, batch_size)

    def _divergence(self, step: int, learning_rate: float) -> DivergedError:
        return DivergedError(divergence_advice(step, learning_rate, self.latest.steps()))

    def _notes(self) -> dict:
        """What a checkpoint holds beside the state: all that using it needs, without the data."""
        targets = self.dataset.targets
        return {
            "seconds": self.seconds,
            "reactions": self.reactions.state(),
            "examples": len(self.dataset.splits["train"]),
            "class_names": list(self.dataset.class_names),
            "image_shape": list(self.dataset.image_shape),
            "mean": self.dataset.mean.tolist(),
            "std": self.dataset.std.tolist(),
            "pixels": self.dataset.pixel_dtype,
            "targets": targets and {"mean": targets.mean.tolist(), "std": targets.std.tolist()},
            "fingerprint": self.fingerprint,
        }

    def _epoch(self) -> float:
        return self.step * self.batch_size / len(self.dataset.splits["train"])

    def _parameters(self) -> int:
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.state.params))

    def _data_name(self) -> str:
        data = self.config.data
        return data.get("name") or data.get("root") or data.get("path") or data.source
