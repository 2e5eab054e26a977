"""Names with $ in a picture are not mathematics."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxcnn.plots.classes import draw_confusion
from jaxcnn.plots.images import image_grid
from jaxcnn.plots.text import as_text


@pytest.mark.parametrize("name", ["$5 to $10", r"$\alph$", "$x^{y$", "plain"])
def test_a_name_is_drawn_as_it_is(name):
    figures = (
        draw_confusion(np.eye(2), [name, "other"]),
        image_grid(np.zeros((1, 4, 4, 1)), [f"{name}\n→ {name}"], heading=name),
    )
    for figure in figures:
        figure.savefig(io.BytesIO())  # it raises for mathematics that cannot be read
    text = Figure().text(0, 0, as_text(name))
    assert text._preprocess_math(text.get_text()) == (name, False)


def test_long_lines_are_cut():
    assert as_text("a long name\nshort", 8) == "a long …\nshort"
    assert as_text("a long name") == "a long name"
