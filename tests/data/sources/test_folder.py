import numpy as np
import pytest
from PIL import Image

from jaxcnn.errors import UserError
from tests.data.sources.test_arrays import load

pytestmark = pytest.mark.fast


@pytest.fixture
def photos(tmp_path, rng):
    """root/{cat,dog}/: grey and colour, JPEG and PNG, of several sizes, and a file that is no image."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i, (size, mode, suffix) in enumerate(
            [((20, 10), "RGB", "png"), ((9, 30), "L", "png"), ((16, 16), "RGB", "jpg")] * 4
        ):
            pixels = rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
            Image.fromarray(pixels).convert(mode).save(tmp_path / name / f"{i}.{suffix}")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


def test_folder_of_classes(photos):
    source = load("folder", resize=8, root=str(photos))
    (split,) = source.splits.values()
    assert len(split) == 24
    assert source.class_names == ("cat", "dog")
    assert split.labels.tolist() == [0] * 12 + [1] * 12
    assert split.images.shape == (8, 8, 3)
    assert load("folder", resize=8, root=str(photos), channels=1).splits["train"].images.shape == (
        8,
        8,
        1,
    )


def test_folder_with_splits(photos):
    for split in ("train", "val", "test"):
        (photos / split).mkdir()
    for name in ("cat", "dog"):
        (photos / name).rename(photos / "train" / name)
        for split in ("val", "test"):
            (photos / split / name).mkdir()
            Image.new("RGB", (8, 8)).save(photos / split / name / "0.png")
    source = load("folder", resize=8, root=str(photos))
    assert {k: len(s) for k, s in source.splits.items()} == {
        "train": 24,
        "validation": 2,
        "test": 2,
    }
    (photos / "test" / "cats").mkdir()
    Image.new("RGB", (8, 8)).save(photos / "test" / "cats" / "0.png")
    with pytest.raises(UserError, match="train has no class 'cats'; did you mean 'cat'"):
        load("folder", resize=8, root=str(photos))


def test_the_centre_square_is_what_is_scaled(tmp_path):
    (tmp_path / "a").mkdir()
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 2:6] = 200  # the centre square
    Image.fromarray(pixels).save(tmp_path / "a" / "0.png")
    split = load("folder", resize=2, root=str(tmp_path)).splits["train"]
    np.testing.assert_array_equal(split.images.decoded(0), 200)


def test_an_unreadable_image_is_named_or_skipped(photos):
    broken = photos / "dog" / "2.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    (photos / "dog" / "5.jpg").write_bytes(b"")
    with pytest.raises(UserError) as error:
        load("folder", resize=8, root=str(photos))
    assert str(broken) in str(error.value)
    assert "(and 1 more)" in str(error.value)
    assert "config.data.on_error=skip" in str(error.value)
    assert "\n" not in str(error.value)

    source = load("folder", resize=8, root=str(photos), on_error="skip")
    assert len(source.splits["train"]) == 22
    assert source.splits["train"].labels.tolist() == [0] * 12 + [1] * 10
    (remark,) = source.remarks
    assert remark.startswith("skipped 2 unreadable of 24 train images")
    assert str(broken) in remark


def test_two_folders_for_validation_are_one_too_many(photos):
    for split in ("train", "val", "validation"):
        (photos / split).mkdir()
    with pytest.raises(UserError, match="has both validation/ and val/; leave one"):
        load("folder", resize=8, root=str(photos))


def test_a_folder_needs_tensorflow_even_where_it_is_known(photos, monkeypatch):
    load("folder", resize=8, root=str(photos))
    monkeypatch.setattr("jaxcnn.tensorflow.tensorflow_installed", lambda: False)
    with pytest.raises(UserError, match="config.data.source='folder' needs TensorFlow"):
        load("folder", resize=8, root=str(photos))


def test_folder_errors(photos):
    with pytest.raises(UserError, match=r"images differ in size: .* is 10×20, .* is 30×9; config"):
        load("folder", root=str(photos))
    with pytest.raises(UserError, match=r"no .jpg or .png in .*/CLASS/; expected root/train/CLASS"):
        load("folder", root=str(photos / "cat"), resize=8)
    with pytest.raises(UserError, match="config.data.root='/nowhere': there is no such directory"):
        load("folder", root="/nowhere")
    with pytest.raises(UserError, match="central_fraction=0.5 is for images that are scaled"):
        load("folder", root=str(photos), central_fraction=0.5)
    with pytest.raises(UserError, match="on_error='ignore' must be one of 'stop', 'skip'"):
        load("folder", root=str(photos), on_error="ignore")
