"""The learning rate over a run, and the momentum where it moves too."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.plots.colours import BLUE, VERMILION


def draw_schedule(
    steps: np.ndarray,
    rates: np.ndarray,
    momentum: np.ndarray | None = None,
    steps_per_epoch: float = 1.0,
    heading: str = "",
) -> Figure:
    """The learning rate by the step, with the epochs along the top.

    Args:
      steps: (n,), ascending.
      rates: (n,), the learning rate at each.
      momentum: (n,), drawn on an axis of its own; None where it is constant.
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    figure.suptitle(textwrap.fill(heading, 90), fontsize=10)
    axes = figure.subplots()
    axes.plot(steps, rates, color=BLUE)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.set_ylabel("learning rate", color=BLUE)
    axes.grid(alpha=0.3)
    epochs = axes.secondary_xaxis(
        "top",
        functions=(lambda step: step / steps_per_epoch, lambda epoch: epoch * steps_per_epoch),
    )
    epochs.set_xlabel("epoch")
    if momentum is not None:
        right = axes.twinx()
        right.plot(steps, momentum, color=VERMILION, ls="--")
        right.set_ylabel("momentum", color=VERMILION)
    return figure
