"""A plot of the learning-rate range test."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from jaxcnn.plots.colours import BLUE, GREY, VERMILION
from jaxcnn.plots.text import as_text


def draw_range_test(
    rates: np.ndarray,
    losses: np.ndarray,
    smoothed: np.ndarray,
    suggestion: float,
    heading: str = "",
) -> Figure:
    """The loss over the learning rate, with the suggested rate marked.

    Args:
      rates, losses, smoothed: (n,), of each step.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    figure.suptitle(as_text(textwrap.fill(heading, 90)), fontsize=10)
    axes = figure.subplots()
    axes.plot(rates, losses, color=GREY, alpha=0.35, lw=1, label="loss of each batch")
    axes.plot(rates, smoothed, color=BLUE, lw=2, label="smoothed")
    axes.axvline(suggestion, color=VERMILION, ls="--", label=f"suggested: {suggestion:.2g}")
    axes.set_xscale("log")
    fall = smoothed[0] - smoothed.min()
    axes.set_ylim(max(0.0, smoothed.min() - 0.5 * fall), smoothed[0] + 0.5 * fall)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", frameon=False)
    return figure
