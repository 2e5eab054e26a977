import numpy as np
import pytest

from jaxcnn.plots.schedule import draw_schedule

pytestmark = pytest.mark.fast


def test_rates_momentum_and_epochs():
    steps = np.arange(0, 40, 10)
    figure = draw_schedule(steps, 0.1 * steps, 1 - 0.01 * steps, 20, "one cycle")
    rate, momentum = (axes.lines[0] for axes in figure.axes)
    np.testing.assert_array_equal(rate.get_xydata(), np.stack([steps, 0.1 * steps], axis=1))
    np.testing.assert_array_equal(momentum.get_ydata(), 1 - 0.01 * steps)
    figure.draw_without_rendering()
    (epochs,) = figure.axes[0].child_axes
    np.testing.assert_allclose(epochs.get_xlim(), np.array(figure.axes[0].get_xlim()) / 20)
    assert figure.get_suptitle() == "one cycle"


def test_a_constant_momentum_is_not_drawn():
    assert len(draw_schedule(np.arange(3), np.ones(3)).axes) == 1
