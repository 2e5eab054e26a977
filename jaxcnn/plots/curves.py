"""The picture of a run: loss, accuracy and learning rate over the epochs."""

from pathlib import Path

# A palette that colour-blind readers can tell apart (Okabe & Ito 2008).
TRAIN, VALIDATION, BEST = "#0072B2", "#D55E00", "#009E73"
REDUCED, STOPPED = "#CC79A7", "#555555"


def draw_curves(
    lines: list[dict],
    path: Path,
    title: str,
    best_step: int | None = None,
    stopped_early: bool = False,
) -> None:
    """Draws the lines of a metrics.jsonl into a PNG file.

    Args:
      lines: in order; 'train' lines hold means since the line before.
      best_step: the step of the best checkpoint, marked where given.
      stopped_early: whether the last evaluation ended the run, which is marked.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train = [line for line in lines if line["split"] == "train"]
    validation = [line for line in lines if line["split"] == "validation"]
    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    loss, score, rate = figure.subplots(1, 3)
    score_name = "mae" if lines and "mae" in lines[0] else "accuracy"
    score_scale = 100 if score_name == "accuracy" else 1

    for axes, key, factor in ((loss, "loss", 1), (score, score_name, score_scale)):
        for split, color, label in (
            (train, TRAIN, "train (while training)"),
            (validation, VALIDATION, "validation"),
        ):
            if split:
                axes.plot(
                    [line["epoch"] for line in split],
                    [factor * line[key] for line in split],
                    color=color,
                    label=label,
                    marker="." if len(split) < 40 else None,
                )
        best = [line for line in validation if line["step"] == best_step]
        if best:
            axes.plot(
                best[0]["epoch"],
                factor * best[0][key],
                color=BEST,
                marker="o",
                markersize=9,
                fillstyle="none",
                markeredgewidth=2,
                linestyle="none",
                label=f"best: {best[0][key]:.{'2%' if key == 'accuracy' else '4g'}}",
            )
        _mark_reductions(axes, validation)
        if stopped_early and validation:
            axes.axvline(validation[-1]["epoch"], color=STOPPED, ls=":", label="stopped early")
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    loss.set_ylabel("loss")
    losses = [line["loss"] for line in lines if line["loss"] > 0]
    if losses and max(losses) > 20 * min(losses):
        loss.set_yscale("log")
    score.set_ylabel({"accuracy": "accuracy (%)", "mae": "mean absolute error"}[score_name])
    rate.plot(
        [line["epoch"] for line in train], [line["learning_rate"] for line in train], color=TRAIN
    )
    _mark_reductions(rate, validation)
    rate.set_xlabel("epoch")
    rate.set_ylabel("learning rate")
    rate.set_ylim(bottom=0)
    rate.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _mark_reductions(axes, validation: list[dict]) -> None:
    """A line where a plateau lowered the learning rate."""
    label, former = "learning rate reduced", 1.0
    for line in validation:
        scale = line.get("learning_rate_scale", 1.0)
        if scale < former:
            axes.axvline(line["epoch"], color=REDUCED, ls="--", lw=1, label=label)
            label, former = None, scale
