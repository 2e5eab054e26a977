"""The curves of a run, with what was found in them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.plots.colours import BLUE, GREEN, GREY, PURPLE, VERMILION
from jaxcnn.plots.text import as_text


def draw_diagnosis(
    steps: np.ndarray,
    losses: np.ndarray,
    rates: np.ndarray,
    held_out_steps: np.ndarray,
    held_out: np.ndarray,
    neutral: float,
    found: Mapping[str, Sequence[float]],
    heading: str,
) -> Figure:
    """The losses and the learning rate by step.

    Args:
      steps, losses, rates: (lines,), of training.
      held_out_steps, held_out: (evaluations,), the validation loss.
      neutral: the loss of outputs of 0.
      found: {condition: steps to mark}.
    """
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    title = as_text(f"{heading}: {', '.join(found) or 'nothing to mend'}")
    above.set_title(title, fontsize=11, loc="left")
    above.plot(steps, losses, color=BLUE, lw=1.5, label="training loss (while training)")
    if len(held_out):
        above.plot(
            held_out_steps, held_out, color=VERMILION, marker=".", lw=1.5, label="validation loss"
        )
    if np.isfinite(neutral):
        above.axhline(neutral, color=GREY, ls=":", lw=1, label=f"of outputs of 0: {neutral:.3g}")
    for (name, marks), color in zip(found.items(), (GREEN, PURPLE, GREY), strict=False):
        for number, mark in enumerate(marks):
            above.axvline(mark, color=color, lw=1, ls="--", label=None if number else name)
    shown = np.concatenate([losses, held_out, [neutral]])
    if shown.max() > 20 * max(shown.min(), 1e-12):
        above.set_yscale("log")
    above.set_ylabel("loss")
    above.legend(frameon=False, fontsize=9)
    below.plot(steps, rates, color=BLUE, lw=1.5)
    below.set_ylabel("learning rate")
    below.set_ylim(bottom=0)
    below.set_xlabel("step")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure
