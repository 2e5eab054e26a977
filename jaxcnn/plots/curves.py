"""Training curves: loss, accuracy or error, and learning rate over the epochs."""

from pathlib import Path
from typing import TYPE_CHECKING

from jaxcnn.plots.colours import BLUE, GREEN, GREY, PURPLE, VERMILION
from jaxcnn.plots.saving import DOTS_PER_INCH
from jaxcnn.plots.text import as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN, VALIDATION, BEST, REDUCED, STOPPED = BLUE, VERMILION, GREEN, PURPLE, GREY

# The axis label of each metric, and the factor applied to it.
LABELS = {
    "loss": ("loss", 1),
    "accuracy": ("accuracy (%)", 100),
    "mae": ("mean absolute error", 1),
}


def draw_curves(
    lines: list[dict],
    path: Path,
    title: str,
    best_step: int | None = None,
    stopped_early: bool = False,
) -> None:
    """Draws `curves_of` a run to a PNG file.

    Raises:
      OSError: the file cannot be written.
    """
    figure = curves_of(lines, title, best_step, stopped_early)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def curves_of(
    lines: list[dict], title: str, best_step: int | None = None, stopped_early: bool = False
) -> "Figure":
    """The lines of a metrics.jsonl as curves.

    Args:
      lines: in order; 'train' lines contain means since the previous line. The score is 'mae' if
        present, else 'accuracy'.
      best_step: the step of the best checkpoint, marked if given.
      stopped_early: whether early stopping ended the run, marked at the last evaluation.
    """
    from matplotlib.figure import Figure  # slow (0.5 s), and needed only at the end of a run

    train = [line for line in lines if line["split"] == "train"]
    validation = [line for line in lines if line["split"] == "validation"]
    figure = Figure(figsize=(13, 4), layout="constrained")
    figure.suptitle(as_text(title))
    loss, score, rate = figure.subplots(1, 3)
    score_name = "mae" if train and "mae" in train[0] else "accuracy"
    for axes, key in ((loss, "loss"), (score, score_name)):
        _draw_split(axes, train, key, TRAIN, "train (while training)")
        _draw_split(axes, validation, key, VALIDATION, "validation")
        _mark_best(axes, [line for line in validation if line["step"] == best_step], key)
        _mark_reductions(axes, validation)
        if stopped_early and validation:
            axes.axvline(validation[-1]["epoch"], color=STOPPED, ls=":", label="stopped early")
        if axes.lines:
            axes.legend()
        _over_epochs(axes, LABELS[key][0])
    losses = [line["loss"] for line in train + validation if line["loss"] > 0]
    if losses and max(losses) > 20 * min(losses):
        loss.set_yscale("log")
    rates = [line["learning_rate"] for line in train]
    rate.plot([line["epoch"] for line in train], rates, color=TRAIN)
    _mark_reductions(rate, validation)
    _over_epochs(rate, "learning rate")
    rate.set_ylim(bottom=0)
    return figure


def _over_epochs(axes: "Axes", label: str) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)


def _draw_split(axes: "Axes", lines: list[dict], key: str, color: str, label: str) -> None:
    if lines:
        epochs = [line["epoch"] for line in lines]
        values = [LABELS[key][1] * line[key] for line in lines]
        marker = "." if len(lines) < 40 else None
        axes.plot(epochs, values, color=color, label=label, marker=marker)


def _mark_best(axes: "Axes", best: list[dict], key: str) -> None:
    """Circles the evaluation of the best checkpoint, if any."""
    for line in best[:1]:
        axes.plot(
            line["epoch"],
            LABELS[key][1] * line[key],
            color=BEST,
            marker="o",
            markersize=9,
            fillstyle="none",
            markeredgewidth=2,
            linestyle="none",
            label=f"best: {line[key]:.{'2%' if key == 'accuracy' else '4g'}}",
        )


def _mark_reductions(axes: "Axes", validation: list[dict]) -> None:
    """Draws a line wherever a plateau lowered the learning rate."""
    label, former = "learning rate reduced", 1.0
    for line in validation:
        scale = line.get("learning_rate_scale", 1.0)
        if scale < former:
            axes.axvline(line["epoch"], color=REDUCED, ls="--", lw=1, label=label)
            label, former = None, scale
