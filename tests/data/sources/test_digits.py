"""scikit-learn's digits, their rotations, and synthetic images."""

import numpy as np
import pytest
from scipy.ndimage import rotate, zoom
from sklearn.datasets import load_digits

from jaxcnn.data.sources import digits as sources
from jaxcnn.data.sources.table import SOURCES
from jaxcnn.errors import UserError
from tests.data.sources.loading import load

pytestmark = pytest.mark.fast


def test_digits():
    source = load("digits")
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 1437,
        "test": 360,
    }
    assert source.splits["train"].images.shape == (1437, 8, 8, 1)
    assert source.splits["train"].images.max() == 255
    counts = np.bincount(source.splits["test"].labels)
    assert counts.min() >= 34  # stratified
    assert counts.max() <= 37


def test_digits_are_cached_as_scikit_learn_has_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    read = load("digits").splits
    assert len(list(tmp_path.glob("jaxcnn/data/digits-*.npz"))) == 1
    cached = load("digits").splits
    pixels = {image.tobytes() for image in load_digits().images}
    for name in ("train", "test"):
        np.testing.assert_array_equal(cached[name].images, read[name].images)
        np.testing.assert_array_equal(cached[name].labels, read[name].labels)
        assert cached[name].images.dtype == np.uint8
        assert cached[name].labels.dtype == np.int32
        of_scikit_learn = np.round(cached[name].images[..., 0] * (16 / 255)).astype(float)
        assert {image.tobytes() for image in of_scikit_learn} <= pixels


def test_synthetic():
    source = load(
        "synthetic", height=6, width=5, channels=2, classes=3, train_images=30, test_images=9
    )
    assert source.splits["train"].images.shape == (30, 6, 5, 2)
    assert source.splits["train"].images.dtype == np.uint8
    assert np.bincount(source.splits["test"].labels).tolist() == [3, 3, 3]
    assert "synthetic" in source.remarks[0]
    assert load("synthetic", resize=7).splits["test"].images.shape == (1000, 7, 7, 3)
    again = load("synthetic", resize=7).splits["test"].images
    np.testing.assert_array_equal(again, load("synthetic", resize=7).splits["test"].images)
    with pytest.raises(UserError, match="data source 'synthetic': classes=0 must be at least 1"):
        load("synthetic", classes=0)


def test_rotated_digits_turn_anticlockwise_and_keep_a_digit_in_one_split():
    turned = sources.rotated_digits(0, copies=2, largest_angle=30.0)
    assert [len(turned.splits[name]) for name in ("train", "validation", "test")] == [
        2588,
        286,
        720,
    ]
    angles = turned.splits["test"].labels
    assert np.abs(angles).max() <= 30
    assert (angles > 0).mean() == pytest.approx(0.5, abs=0.1)

    upright = sources.digits(0).splits["test"].images
    for i in np.flatnonzero(np.abs(angles[:20]) > 5):
        same = zoom(upright[i, ..., 0] / 255, 2, order=3, mode="grid-constant", grid_mode=True)
        image = turned.splits["test"].images[i, ..., 0] / 255
        back, further = (  # scipy turns anticlockwise by a positive angle, as one sees it
            rotate(image, angle, reshape=False, order=3)[4:20, 4:20]
            for angle in (-angles[i], angles[i])
        )
        closeness = [np.corrcoef(other.ravel(), same.ravel())[0, 1] for other in (back, further)]
        assert closeness[0] > max(0.85, closeness[1])


@pytest.mark.parametrize(
    ("setting", "value"), [("copies", 0), ("largest_angle", 0.0), ("largest_angle", 181.0)]
)
def test_rotated_digits_refuse(setting, value):
    with pytest.raises(UserError, match=f"{setting}={value} must be"):
        SOURCES.create("rotated_digits", 0, **{setting: value})
