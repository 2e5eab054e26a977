"""Images of more than 8 bits per channel."""

import numpy as np
import pytest
from PIL import Image

from jaxcnn.errors import UserError
from tests.data.sources.folders import error_of_folder, put
from tests.data.sources.loading import load

pytestmark = pytest.mark.fast


def deep_png(path, values):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint16)).save(path)


def test_16_bits_become_8_by_the_whole_range(tmp_path):
    deep_png(tmp_path / "a" / "0.png", [[0, 128, 129], [385, 386, 65_535]])
    source = load("folder", root=str(tmp_path))
    found = source.splits["train"].images.decoded(0)
    np.testing.assert_array_equal(found, np.repeat([[[0], [0], [1]], [[1], [2], [255]]], 3, -1))
    assert source.remarks == (
        "images of more than 8 bits per channel are reduced to 8 bits (65535 becomes 255): 1; largest "
        "value: 65535",
    )


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_12_bits_in_files_of_16(tmp_path, suffix):
    values = np.array([[0, 8], [9, 4095]])
    deep_png(tmp_path / "a" / f"0.{suffix}", values)
    put(tmp_path, "a/1.txt", "b/0.png")
    Image.new("RGB", (2, 2)).save(tmp_path / "b" / "0.png")
    source = load("folder", root=str(tmp_path))
    assert source.splits["train"].images.decoded(0).max() == 16
    assert source.remarks[1] == (
        "images of more than 8 bits per channel are reduced to 8 bits (65535 becomes 255): 1; largest "
        "value: 4095; config.data.white=4095 uses the whole range"
    )
    source = load("folder", root=str(tmp_path), white=4095)
    images = source.splits["train"].images
    assert images.decoded(0)[..., 0].tolist() == [[0, 0], [1, 255]]
    assert images.decoder.white == 4095
    assert source.remarks[1].endswith("(4095 becomes 255): 1; largest value: 4095")
    source = load("folder", root=str(tmp_path), white=2000)
    assert source.splits["train"].images.decoded(0)[..., 0].tolist() == [[0, 1], [1, 255]]
    assert source.remarks[1].endswith("4095; 1 exceed config.data.white and are clipped")
    with pytest.raises(UserError, match="white=100 must be 0, or from 255 to 65535"):
        load("folder", root=str(tmp_path), white=100)


def test_values_that_fit_8_bits_keep_them(tmp_path):
    deep_png(tmp_path / "a" / "0.png", [[0, 1, 200]])
    remark = load("folder", root=str(tmp_path)).remarks[0]
    assert remark.endswith("config.data.white=255 uses the whole range")
    images = load("folder", root=str(tmp_path), white=255).splits["train"].images
    assert images.decoded(0)[0, :, 0].tolist() == [0, 1, 200]


def test_floats_in_a_tiff_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a" / "0.tif")
    message = error_of_folder(tmp_path)
    assert (
        "a/0.tif: a TIFF of signed or floating-point numbers; save them as floats in an .npz"
        in message
    )
