"""Folders of images: splits, classes, and what is skipped or refused."""

import os

import numpy as np
import pytest
from PIL import Image, ImageOps

from jaxcnn.errors import UserError
from tests.data.sources.folders import counts, error_of_folder, put
from tests.data.sources.loading import load

pytestmark = pytest.mark.fast


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
    remark = source.remarks[-1]
    assert remark.startswith("skipped 2 unreadable of 24 train images")
    assert str(broken) in remark


def test_every_format_is_read_wherever_it_is_in_a_class(tmp_path):
    put(tmp_path, "cat/0.jpg", "cat/1.JPEG", "dog/0.png", "dog/deep/deeper/1.bmp")
    put(tmp_path, "fox/0.webp", "fox/1.gif", "fox/2.tif", "fox/a/3.tiff")
    source = load("folder", resize=8, root=str(tmp_path))
    assert source.class_names == ("cat", "dog", "fox")
    assert counts(source) == {"train": [2, 2, 4]}
    assert source.remarks == ()
    for position in range(8):
        assert source.splits["train"].images.decoded(position).max() <= 1


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Validation"])
def test_the_splits_may_be_called_as_people_call_them(tmp_path, name):
    put(tmp_path, *(f"{s}/{c}/0.png" for s in ("Training", name, "Testing") for c in "ab"))
    source = load("folder", resize=8, root=str(tmp_path))
    assert counts(source) == {"train": [1, 1], "validation": [1, 1], "test": [1, 1]}


@pytest.mark.parametrize(
    ("one", "other"),
    [("val", "valid"), ("valid", "validation"), ("val", "validation"), ("test", "testing")],
)
def test_two_folders_of_one_split_are_one_too_many(tmp_path, one, other):
    put(tmp_path, *(f"{s}/{c}/0.png" for s in ("train", one, other) for c in "ab"))
    message = error_of_folder(tmp_path)
    assert f"has both {one}/ and {other}/ for the" in message
    assert f"rename one, or skip it with config.data.ignore=['{other}']" in message
    source = load("folder", resize=8, root=str(tmp_path), ignore=(other,))
    assert len(source.splits) == 2


def test_a_folder_beside_train_that_is_no_split(tmp_path):
    put(tmp_path, *(f"{s}/{c}/0.png" for s in ("train", "extra") for c in "ab"))
    message = error_of_folder(tmp_path)
    assert message.startswith(f"{tmp_path / 'extra'} is next to train/ but is not a split")
    assert "skip it with config.data.ignore=['extra']" in message
    assert "read every folder as a class with config.data.folders=classes" in message
    left = load("folder", resize=8, root=str(tmp_path), ignore=("extra",))
    assert (left.class_names, counts(left)) == (("a", "b"), {"train": [1, 1]})
    classes = load("folder", resize=8, root=str(tmp_path), folders="classes")
    assert (classes.class_names, counts(classes)) == (("extra", "train"), {"train": [2, 2]})
    assert "is next to train/" in error_of_folder(tmp_path, folders="splits")


def test_what_an_error_says_to_ignore_is_ignored_whatever_its_name(tmp_path):
    put(tmp_path, "train/a/0.png", "train/b/0.png", "[old] *x/a/0.png")
    assert "skip it with config.data.ignore=['[old] *x']" in error_of_folder(tmp_path)
    source = load("folder", resize=8, root=str(tmp_path), ignore=("[old] *x",))
    assert (counts(source), source.remarks) == ({"train": [1, 1]}, ())


def test_a_split_among_classes(tmp_path):
    put(tmp_path, "cat/0.png", "dog/0.png", "test/0.png")
    message = error_of_folder(tmp_path)
    assert "has test/ but no train/; read every folder as a class with config.data." in message
    assert "or skip it with config.data.ignore=['test']" in message
    assert load("folder", 8, root=str(tmp_path), ignore=["test"]).class_names == ("cat", "dog")
    classes = load("folder", resize=8, root=str(tmp_path), folders="classes")
    assert classes.class_names == ("cat", "dog", "test")
    assert "has no train/; read every" in error_of_folder(
        tmp_path, folders="splits", ignore=("test",)
    )


def test_a_test_split_without_labels(tmp_path):
    put(tmp_path, "train/a/0.png", "train/b/0.png", "test/0.png")
    message = error_of_folder(tmp_path)
    assert f"{tmp_path / 'test'} has no class folders, so its images have no labels" in message
    assert "give it a folder for each class, or skip it with config.data.ignore=['test']" in message
    assert counts(load("folder", resize=8, root=str(tmp_path), ignore=("test",))) == {
        "train": [1, 1]
    }


@pytest.mark.parametrize("contents", [(), ("train/fox/0.heic", "train/fox/notes.txt")])
def test_a_class_folder_without_images(tmp_path, contents):
    put(tmp_path, "train/cat/0.png", "train/dog/0.png", *contents)
    (tmp_path / "train" / "fox").mkdir(exist_ok=True)
    message = error_of_folder(tmp_path)
    assert f"the class folder {tmp_path / 'train' / 'fox'} has no readable image" in message
    assert "fill it, or remove it, or skip it with config.data.ignore=['train/fox']" in message
    source = load("folder", resize=8, root=str(tmp_path), ignore=("train/fox",))
    assert source.class_names == ("cat", "dog")


def test_a_class_that_is_not_in_every_split_is_told(tmp_path):
    put(tmp_path, *(f"train/{c}/0.png" for c in "abc"), "test/a/0.png", "val/b/0.png")
    source = load("folder", resize=8, root=str(tmp_path))
    assert source.remarks == (
        f"{tmp_path / 'test'} has no folder for 2 classes (b, c) of train",
        f"{tmp_path / 'val'} has no folder for 2 classes (a, c) of train",
    )


def test_other_files_are_counted_and_named(tmp_path):
    put(tmp_path, "cat/0.png", "dog/0.png", "dog/x.heic", "cat/in/notes.txt", "cat/Thumbs.db")
    put(tmp_path, "0.png", "README", "1.txt", "2.txt")
    (remark,) = load("folder", resize=8, root=str(tmp_path)).remarks
    assert remark == (
        f"skipped 7 files (0.png, 1.txt, 2.txt, README, cat/Thumbs.db, …) in {tmp_path}; images are "
        ".jpg .jpeg .png .webp .bmp .gif .tif .tiff in class folders"
    )
    ignore = ("*.txt", "*.db", "dog/x.*", "READ*", "?")
    remarks = load("folder", resize=8, root=str(tmp_path), ignore=ignore).remarks
    assert remarks[0] == f"config.data.ignore: nothing in {tmp_path} matches '?'"
    assert remarks[1].startswith(f"skipped 1 file (0.png) in {tmp_path};")


def test_hidden_files_are_skipped_in_silence(tmp_path):
    put(tmp_path, "cat/0.png", "dog/0.png")
    put(tmp_path, ".ipynb_checkpoints/0.png", "cat/.ipynb_checkpoints/0.png", "cat/._0.png")
    put(tmp_path, "__MACOSX/cat/0.png", "dog/__MACOSX/0.png", ".DS_Store", "cat/.DS_Store")
    put(tmp_path, ".jaxcnn/train-8-3-1.png")  # of an older version
    source = load("folder", resize=8, root=str(tmp_path))
    assert (source.class_names, counts(source)) == (("cat", "dog"), {"train": [1, 1]})
    assert source.remarks == ()


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    put(tmp_path, "cat/0.png", "dog/0.png")

    def scandir(path):
        if path.name == "dog":
            raise PermissionError(13, "Permission denied")
        return original(path)

    original = os.scandir
    monkeypatch.setattr("jaxcnn.data.sources.tree.os.scandir", scandir)
    assert error_of_folder(tmp_path) == f"cannot read the folder {tmp_path}/dog: Permission denied"


def test_a_folder_needs_tensorflow_even_where_it_is_known(photos, monkeypatch):
    load("folder", resize=8, root=str(photos))
    monkeypatch.setattr("jaxcnn.tensorflow.tensorflow_installed", lambda: False)
    with pytest.raises(UserError, match="config.data.source='folder' needs TensorFlow"):
        load("folder", resize=8, root=str(photos))


def test_folder_errors(photos):
    with pytest.raises(
        UserError, match=r"images differ in size: .* is 10×20, .* is 30×9; for example, config"
    ):
        load("folder", root=str(photos))
    with pytest.raises(UserError, match=r"has no folders in it; expected root/train/CLASS/image"):
        load("folder", root=str(photos / "cat"), resize=8)
    with pytest.raises(UserError, match="config.data.root='/nowhere': there is no such directory"):
        load("folder", root="/nowhere")
    with pytest.raises(UserError, match="central_fraction=0.5 is for scaled images"):
        load("folder", root=str(photos), central_fraction=0.5)
    with pytest.raises(UserError, match="on_error='ignore' must be one of 'stop', 'skip'"):
        load("folder", root=str(photos), on_error="ignore")


def test_splits_may_be_called_sets(tmp_path):
    put(
        tmp_path,
        "train_set/cat/0.png",
        "train_set/dog/0.png",
        "Test-Set/cat/0.png",
        "Test-Set/dog/0.png",
    )
    assert counts(load("folder", resize=8, root=str(tmp_path))) == {"train": [1, 1], "test": [1, 1]}


def test_splits_below_classes_are_refused(tmp_path):
    """All of it would be training images, the test images too."""
    put(
        tmp_path,
        *(f"{name}/{split}/0.png" for name in ("cat", "dog") for split in ("train", "test")),
    )
    said = error_of_folder(tmp_path)
    assert "cat holds test/ and train/, which are splits; expected root/train/CLASS" in said
    assert "config.data.folders=classes" in said
    found = load("folder", resize=8, root=str(tmp_path), folders="classes")
    assert counts(found) == {"train": [2, 2]}


def test_folders_of_one_name_in_several_classes_are_told(tmp_path):
    put(tmp_path, "photos/cat/0.png", "photos/dog/0.png", "other/cat/0.png", "other/x/0.png")
    (remark,) = load("folder", resize=8, root=str(tmp_path)).remarks
    assert "2 folders (other/cat, photos/cat) inside class folders" in remark


def test_folders_of_other_programs_are_no_classes(tmp_path):
    put(
        tmp_path, "cat/0.png", "dog/0.png", "@eaDir/0.png", "$RECYCLE.BIN/0.png", "cat/@eaDir/1.png"
    )
    found = load("folder", resize=8, root=str(tmp_path))
    assert found.class_names == ("cat", "dog")
    assert counts(found) == {"train": [1, 1]}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_that_only_xmp_turns_has_its_upright_size(tmp_path, orientation):
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        f'tiff:Orientation="{orientation}"/></rdf:RDF></x:xmpmeta>'
    ).encode()
    pixels = np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3)
    path = tmp_path / "a" / "0.tif"
    path.parent.mkdir()
    Image.fromarray(pixels).save(path, tiffinfo={700: xmp})
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    split = load("folder", root=str(tmp_path)).splits["train"]
    assert tuple(split.images.places["size"][0]) == expected.shape[:2]
    np.testing.assert_array_equal(split.images.decoded(0), expected)
