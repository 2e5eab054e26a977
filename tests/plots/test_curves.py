import numpy as np
import pytest
from PIL import Image

from jaxcnn.plots.curves import BEST, TRAIN, VALIDATION, draw_curves

pytestmark = pytest.mark.fast


def lines(validation):
    for step in range(1, 6):
        common = {"step": step, "epoch": step / 2, "loss": 3.0 / step, "accuracy": step / 6}
        yield {**common, "split": "train", "learning_rate": 0.1 / step}
        if validation:
            yield {**common, "split": "validation"}


def has_color(image, color):
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(image.astype(int) - wanted).max(axis=-1) < 8).any()


@pytest.mark.parametrize("validation", [True, False])
def test_curves(tmp_path, validation):
    path = tmp_path / "plots" / "curves.png"
    draw_curves(list(lines(validation)), path, "a run", best_step=5 if validation else None)
    image = np.asarray(Image.open(path).convert("RGB"))
    assert has_color(image, TRAIN)
    assert has_color(image, VALIDATION) == validation
    assert has_color(image, BEST) == validation


def test_lines_of_other_kinds_are_left_out(tmp_path):
    others = [{"step": 1, "epoch": 0.5, "split": split} for split in ("monitor", "rollback")]
    for name, drawn in (("all", [*others, *lines(validation=True)]), ("some", lines(True))):
        draw_curves(list(drawn), tmp_path / f"{name}.png", "a run")
    drawn = [np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("all", "some")]
    assert (drawn[0] == drawn[1]).all()


def test_a_regression_is_drawn_by_its_mean_absolute_error(tmp_path, monkeypatch):
    labels = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_ylabel", lambda axes, text: labels.append(text))
    of_targets = [{**line, "mae": line["accuracy"]} for line in lines(validation=True)]
    draw_curves(of_targets, tmp_path / "curves.png", "a run", best_step=5)
    assert labels == ["loss", "mean absolute error", "learning rate"]


def test_a_run_that_wrote_no_line_yet(tmp_path):
    draw_curves([], tmp_path / "curves.png", "a run")
    assert (tmp_path / "curves.png").exists()
