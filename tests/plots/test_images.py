import numpy as np
import pytest

from jaxcnn.plots.images import augmentation_sheet, image_grid

pytestmark = pytest.mark.fast


def shown(panel):
    return np.asarray(panel.images[0].get_array())


def test_a_grid_shows_every_image_with_its_title(rng):
    images = rng.random((5, 3, 4, 3))
    figure = image_grid(images, list("abcde"), columns=3)
    assert len(figure.axes) == 6  # two rows of three
    for panel, image, title in zip(figure.axes, images, "abcde", strict=False):
        np.testing.assert_array_equal(shown(panel), image)
        assert panel.get_title() == title
    assert not figure.axes[5].images


def test_grey_images_are_flat_and_what_is_out_of_range_is_clipped():
    image = np.array([[-0.5, 0.25], [1.0, 1.5]])[..., None]
    (panel,) = image_grid(image[None]).axes
    np.testing.assert_array_equal(shown(panel), [[0, 0.25], [1, 1]])
    assert panel.images[0].get_clim() == (0, 1)


def test_no_images_are_an_empty_grid():
    assert not any(panel.images for panel in image_grid(np.zeros((0, 2, 2, 1))).axes)


def test_a_sheet_has_a_row_per_image_and_a_column_per_stage(rng):
    stages = [rng.random((2, 3, 3, 1)) for _ in range(3)]
    figure = augmentation_sheet(stages, ["stored", "flipped", "cut"], ["cat", "dog"])
    panels = np.array(figure.axes).reshape(2, 3)
    for row in range(2):
        for column in range(3):
            np.testing.assert_array_equal(shown(panels[row, column]), stages[column][row, ..., 0])
    assert [panel.get_title() for panel in panels[0]] == ["stored", "flipped", "cut"]
    assert [panel.get_ylabel() for panel in panels[:, 0]] == ["cat", "dog"]
