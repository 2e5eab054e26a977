"""Log lines and the progress bar in the terminal."""

import logging
import sys
from collections.abc import Mapping
from contextlib import ExitStack

import jax
from ml_collections import ConfigDict
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from jaxcnn.optim.chain import takes_mask
from jaxcnn.train.observers.base import Observer, Start
from jaxcnn.train.precision import precision_in_words

log = logging.getLogger(__name__)


class Console(Observer):
    """Logs a description of the run, and each of its lines."""

    def __init__(self):
        self._total_steps = 0

    def on_start(self, start: Start) -> None:
        self._total_steps = start.total_steps
        config, spec = start.config, start.spec
        for remark in start.remarks:
            log.warning(remark)
        splits = ", ".join(f"{size:,} {name}" for name, size in spec.sizes.items())
        log.info(
            "%s: %s parameters; %s images of %s, %s; %d %s device(s), %s",
            config.model.name,
            f"{start.parameters:,}",
            splits,
            "×".join(map(str, spec.image_shape)),
            f"{spec.outputs} {'numbers' if spec.targets else 'classes'}",
            start.devices,
            jax.default_backend(),
            precision_in_words(config, jax.default_backend()),
        )
        for section in ("optimizer", "schedule", "averaging"):
            if config[section].name != "none":
                log.info("%s: %s", section, section_in_words(config[section]))
        for rule in start.rules:
            if rule := _applied(rule, config):
                log.info(rule)

    def on_log(self, line: dict) -> None:
        # Within 80 columns; metrics.jsonl has everything.
        score = f"acc {line['accuracy']:.2%}" if "accuracy" in line else f"mae {line['mae']:.4g}"
        log.info(
            "step %d/%d  epoch %.1f  loss %.4f  %s  lr %.2g  %.0f img/s",
            line["step"],
            self._total_steps,
            line["epoch"],
            line["loss"],
            score,
            line["learning_rate"],
            line["examples_per_second"],
        )

    def on_validation(self, line: dict) -> None:
        remarks = "  (best so far)" if line["best"] else ""
        if "learning_rate_scale" in line:
            remarks += f"  (learning rate × {line['learning_rate_scale']:g})"
        log.info("validation       %s%s", in_words(line), remarks)

    def on_rollback(self, line: dict) -> None:
        log.warning(
            "diverged at step %d; back to step %d, with the learning rate × %g",
            line["diverged_at"],
            line["step"],
            line["learning_rate_scale"],
        )

    def on_end(self, result: dict) -> None:
        if result["status"] == "early_stopped":
            log.info("stopped early, at step %d", result["steps"])


class ProgressBar(Observer):
    """A progress bar of images, below the log lines; hidden if stderr is not a terminal."""

    def __init__(self):
        self._open, self._bar, self._batch_size = ExitStack(), None, 0

    def on_start(self, start: Start) -> None:
        self._batch_size = start.config.train.global_batch_size
        bar = tqdm(
            total=start.total_steps * self._batch_size,
            initial=start.step * self._batch_size,
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
            desc=start.config.model.name,
        )
        self._bar = self._open.enter_context(bar)
        if not bar.disable:
            self._open.enter_context(logging_redirect_tqdm())

    def on_steps(self, step: int) -> None:
        self._bar.update(step * self._batch_size - self._bar.n)

    def on_rollback(self, line: dict) -> None:
        self._bar.reset()
        self.on_steps(line["step"])

    def close(self) -> None:
        self._open.close()


def _applied(rule: str, config: ConfigDict) -> str:
    """A parameter rule as the optimizer applies it; '' for a decay rule without any decay."""
    decoupled = config.optimizer.get("weight_decay", 0.0)
    if not rule.startswith("decayed"):
        return rule
    if decoupled and not takes_mask(config.optimizer.name):
        return f"decayed: all parameters, since {config.optimizer.name} takes no mask"
    return rule if decoupled or config.loss.l2_regularization else ""


def in_words(values: Mapping[str, float]) -> str:
    """The metrics of a line as text: 'loss 0.1234  accuracy 97.50%'."""
    words = [f"loss {values['loss']:.4f}"]
    if "accuracy" in values:
        words.append(f"accuracy {values['accuracy']:.2%}")
    if "top5_accuracy" in values:
        words.append(f"top-5 {values['top5_accuracy']:.2%}")
    if "mae" in values:
        words.append(f"mean absolute error {values['mae']:.4g}")
    return "  ".join(words)


def section_in_words(section: ConfigDict) -> str:
    """A section as text, 'adam, b1=0.9, b2=0.999, …': the name, then its settings, sorted."""
    settings = sorted((key, value) for key, value in section.items() if key != "name")
    return ", ".join([section.name, *(f"{key}={_short(value)}" for key, value in settings)])


def _short(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
