import numpy as np
import pytest

from jaxcnn.config import data_seed, default_config
from jaxcnn.data.augment.arrays import numpy_arrays
from jaxcnn.data.augment.table import create_augmentations
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.preparation import preparation
from jaxcnn.data.feeding.selection import TrainSelection
from jaxcnn.data.spec import DataSpec, TargetScale
from jaxcnn.diagnose.pictures import (
    augmentation_gallery,
    contact_sheet,
    most_confident_mistakes,
    schedule_plot,
    training_images,
)
from jaxcnn.durations import RunLength
from jaxcnn.errors import UserError
from jaxcnn.optim.schedules import create_schedule

pytestmark = pytest.mark.fast


def shown(figure):
    """The images and titles of a figure's panels that show something."""
    panels = [panel for panel in figure.axes if panel.images]
    return [np.asarray(panel.images[0].get_array()) for panel in panels], [
        panel.get_title() for panel in panels
    ]


def test_a_contact_sheet_undoes_the_normalisation(rng):
    pixels = rng.integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
    mean, std = np.float32([100, 110, 120]), np.float32([50, 60, 70])
    batch = {"image": (pixels - mean) / std, "label": np.array([0, 1, 1, 0, 1])}
    dataset = Dataset({}, DataSpec((4, 4, 3), ("cat", "dog"), mean, std, "uint8"))
    images, titles = shown(contact_sheet(batch, dataset))
    np.testing.assert_allclose(images, pixels / 255, atol=1e-5)
    assert titles == ["cat", "dog", "dog", "cat", "dog"]


def test_a_contact_sheet_of_targets_says_them_in_their_unit():
    scale = TargetScale(np.float32(10), np.float32(20))
    zero, one = np.float32([0]), np.float32([1])
    dataset = Dataset({}, DataSpec((4, 4, 1), (), zero, one, "uint8", scale))
    batch = {"image": np.zeros((2, 4, 4, 1)), "label": np.float32([-1, 0.5])}
    assert shown(contact_sheet(batch, dataset))[1] == ["-10.", "20."]


def test_training_images_show_every_stage(blobs):
    config = default_config()
    config.data.augment = [{"name": "vertical_flip", "probability": 1.0}, {"name": "cutout"}]
    config.data.mix = [{"name": "mixup", "alpha": 1.0}]
    figure = training_images(config, blobs, 3)
    images, titles = shown(figure)
    assert [title for title in titles if title] == ["as stored", "vertical_flip", "cutout", "mixup"]
    stored, flipped, cut, mix = (np.stack(images[column::4]) for column in range(4))
    np.testing.assert_array_equal(flipped, stored[:, ::-1])
    assert 0 < (cut != flipped).mean() < 0.5
    np.testing.assert_allclose(mix[0] + mix[2], cut[0] + cut[2], atol=1e-5)  # each other's partners
    names = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert len(names) == 3
    assert set(names) <= {"0", "1", "2"}
    config.data.augment, config.data.mix = [], []
    assert len(shown(training_images(config, blobs, 5))[0]) == 5


def test_a_gallery_shows_what_the_run_trains_on_in_each_epoch(blobs):
    config = default_config()
    config.data.augment = [{"name": "pad_and_crop", "padding": 3}, {"name": "vertical_flip"}]
    config.data.mix = [{"name": "mixup", "alpha": 1.0}]
    figure = augmentation_gallery(config, blobs, 4, epochs=3)
    images, titles = shown(figure)
    assert [title for title in titles if title] == ["as stored", "epoch 1", "epoch 2", "epoch 3"]
    assert figure.get_suptitle().startswith("pad_and_crop, vertical_flip\n(without mixup of whole")
    augmentations = create_augmentations(config.data.augment)
    split = blobs.splits["train"]
    select = TrainSelection(len(split), augmentations, len(split), data_seed(config))
    first = select([0]).index[0, :4]
    augment = preparation(numpy_arrays, blobs.spec, augmentations)[:-1]
    for epoch in range(3):
        trained = select([epoch])
        rows = [trained.index[0].tolist().index(example) for example in first]
        pixels = split.images[first]
        for step in augment:
            pixels = step(pixels, trained.draws[0, rows])
        found = np.stack(images[epoch + 1 :: 4])
        np.testing.assert_allclose(255 * found, pixels[..., 0])
    np.testing.assert_allclose(255 * np.stack(images[::4]), split.images[first][..., 0])
    config.data.augment = []
    with pytest.raises(UserError, match="this run has no augmentation to draw"):
        augmentation_gallery(config, blobs, 4, epochs=3)


def test_a_schedule_s_plot_shows_every_step_and_the_momentum():
    run = RunLength(examples=50, batch_size=10, steps=100)
    schedule = create_schedule({"name": "one_cycle", "warmup": ""}, run)
    figure = schedule_plot(schedule, run, 0.2)
    rate, momentum = (axes.lines[0] for axes in figure.axes)
    np.testing.assert_array_equal(rate.get_xdata(), np.arange(100))
    assert rate.get_ydata().max() == pytest.approx(0.2, rel=1e-3)
    assert rate.get_ydata().argmax() == momentum.get_ydata().argmin() == 29
    figure.draw_without_rendering()
    (epochs,) = figure.axes[0].child_axes
    np.testing.assert_allclose(epochs.get_xlim(), np.array(figure.axes[0].get_xlim()) / 5)
    cosine = create_schedule({"name": "cosine", "warmup": ""}, run)
    assert len(schedule_plot(cosine, run, 0.2).axes) == 1


def test_mistakes_are_the_wrong_ones_surest_first():
    images = np.arange(4, dtype=float)[:, None, None, None] / 4 * np.ones((1, 2, 2, 1))
    labels = np.array([0, 1, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    figure = most_confident_mistakes(images, labels, probabilities, ("cat", "dog"))
    pictures, titles = shown(figure)
    assert titles == ["dog 80%\nis cat", "cat 60%\nis dog"]
    assert [picture[0, 0] for picture in pictures] == [0.5, 0.25]


def test_no_mistakes():
    figure = most_confident_mistakes(
        np.zeros((2, 2, 2, 1)), np.array([0, 1]), np.eye(2), ("cat", "dog")
    )
    assert shown(figure) == ([], [])
