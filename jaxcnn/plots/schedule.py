"""A plot of the learning rate over a run, and of the momentum if it is scheduled."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.plots.colours import BLUE, VERMILION
from jaxcnn.plots.text import as_text


def draw_schedule(
    steps: np.ndarray,
    rates: np.ndarray,
    momentum: np.ndarray | None = None,
    steps_per_epoch: float = 1.0,
    heading: str = "",
) -> Figure:
    """The learning rate over the steps, with epochs along the top axis.

    Args:
      steps: (n,), ascending.
      rates: (n,), the learning rate at each step.
      momentum: (n,), drawn on a second axis; None if it is constant.
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    figure.suptitle(as_text(textwrap.fill(heading, 90)), fontsize=10)
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
