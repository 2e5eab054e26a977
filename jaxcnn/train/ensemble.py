"""Ensembles: the class probabilities of several networks, averaged."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.errors import UserError
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.evaluate import outputs_of_split
from jaxcnn.train.losses import OF_SOFTMAX
from jaxcnn.train.prediction import answer_for
from jaxcnn.train.saved_run import SavedRun, load_run
from jaxcnn.train.views import log_of
from jaxcnn.train.workdir import Workdir

Metrics = dict[str, float | int]


def load_snapshots(workdir: str | Path, count: int) -> list[SavedRun]:
    """The last `count` snapshots of a run (`config.checkpoint.snapshots`), the oldest first.

    Raises:
      UserError: the run has fewer, or one is damaged.
    """
    folder = Workdir(workdir).snapshots
    steps = Checkpoints(folder, keep=0, read_only=True).steps() if folder.is_dir() else []
    if len(steps) < count:
        raise UserError(
            f"snapshots={count}: workdir={workdir} has {len(steps)}; config.checkpoint.snapshots sets "
            "how many a run keeps"
        )
    return [load_run(workdir, str(step)) for step in steps[-count:]]


def evaluate_ensemble(
    runs: Sequence[SavedRun], split: str = "test", location: Mapping[str, str] | None = None
) -> tuple[Metrics, list[Metrics]]:
    """Evaluates the mean of the class probabilities of several runs on a split of their data.

    Args:
      location: where the data is now, if it moved: {"data.root": "/new/photos"}.

    Returns:
      The metrics of the ensemble, and of each member by itself.

    Raises:
      UserError: the runs cannot be averaged, or the data has no such split.
    """
    _check_together(runs)
    each = []
    for run in runs:  # each normalises the images with its own statistics
        dataset = run.dataset(split, location or {})
        each.append(probabilities_of(run, dataset, split))
    labels = np.asarray(dataset.splits[split].labels)
    mean = np.mean(each, axis=0, dtype=np.float64).astype(np.float32)
    scored = [_metrics(runs[0], found, labels) for found in (mean, *each)]
    return scored[0], scored[1:]


def _check_together(runs: Sequence[SavedRun]) -> None:
    first = runs[0]
    for run in runs:
        if run.config.loss.name not in OF_SOFTMAX:
            raise UserError(
                f"an ensemble averages softmax probabilities, which config.loss.name="
                f"{run.config.loss.name!r} does not give"
            )
        if run.fingerprint != first.fingerprint or run.spec.class_names != first.spec.class_names:
            raise UserError("the runs of an ensemble were trained on different data")


def probabilities_of(run: SavedRun, dataset: Dataset, split: str) -> np.ndarray:
    """The class probabilities of a split, in order: (images, classes), float32, as of `predict`."""
    answer, feed = answer_for(run.model, run.config.loss.name), HostFeed(dataset, run.layout)
    return outputs_of_split(answer, run.variables, feed, split, run.config.eval.global_batch_size)


def _metrics(run: SavedRun, probabilities: np.ndarray, labels: np.ndarray) -> Metrics:
    """Those of a network whose softmax gives these probabilities."""
    logits, mask = log_of(jnp.asarray(probabilities)), jnp.ones(len(labels), bool)
    loss = run.scoring.loss(logits, jnp.asarray(labels), mask)
    return jax.jit(run.scoring.means)(loss, logits, jnp.asarray(labels), mask).read()
