"""The picture of a run: loss, accuracy and learning rate over the epochs."""

from pathlib import Path

# A palette that colour-blind readers can tell apart (Okabe & Ito 2008).
TRAIN, VALIDATION, BEST = "#0072B2", "#D55E00", "#009E73"


def draw_curves(lines: list[dict], path: Path, title: str, best_step: int | None = None) -> None:
    """Draws the lines of a metrics.jsonl into a PNG file.

    Args:
      lines: in order; 'train' lines hold means since the line before.
      best_step: the step of the best checkpoint, marked where given.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train = [line for line in lines if line["split"] == "train"]
    validation = [line for line in lines if line["split"] == "validation"]
    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    loss, accuracy, rate = figure.subplots(1, 3)

    for axes, key, factor in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
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
                label=f"best: {best[0][key]:.4f}" if key == "loss" else f"best: {best[0][key]:.2%}",
            )
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    loss.set_ylabel("loss (cross-entropy)")
    losses = [line["loss"] for line in lines if line["loss"] > 0]
    if losses and max(losses) > 20 * min(losses):
        loss.set_yscale("log")
    accuracy.set_ylabel("accuracy (%)")
    rate.plot(
        [line["epoch"] for line in train], [line["learning_rate"] for line in train], color=TRAIN
    )
    rate.set_xlabel("epoch")
    rate.set_ylabel("learning rate")
    rate.set_ylim(bottom=0)
    rate.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
