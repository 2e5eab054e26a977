import io
import os

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.dataset import _prepared
from jaxcnn.data.feeding.host import eval_batches
from jaxcnn.errors import UserError
from tests.data.sources.picture_files import exif
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
    remark = source.remarks[-1]
    assert remark.startswith("skipped 2 unreadable of 24 train images")
    assert str(broken) in remark


def error_of_folder(root, **settings):
    with pytest.raises(UserError) as error:
        load("folder", resize=8, root=str(root), **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def put(root, *names, mode="RGB"):
    """Images of 8 × 8 pixels, or, by their suffix, other files."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".txt", ".heic", ".db", ".DS_Store", ""):
            path.write_text("no image")
        else:
            Image.new(mode, (8, 8)).save(path)


def counts(source):
    return {name: np.bincount(split.labels).tolist() for name, split in source.splits.items()}


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
    assert f"has both {one}/ and {other}/, each of them the" in message
    assert f"config.data.ignore=['{other}'] leaves it out" in message
    source = load("folder", resize=8, root=str(tmp_path), ignore=(other,))
    assert len(source.splits) == 2


def test_a_folder_beside_train_that_is_no_split(tmp_path):
    put(tmp_path, *(f"{s}/{c}/0.png" for s in ("train", "extra") for c in "ab"))
    message = error_of_folder(tmp_path)
    assert message.startswith(f"{tmp_path / 'extra'} is beside train/, and is no split")
    assert "config.data.ignore=['extra'] leaves it out" in message
    assert "config.data.folders=classes takes every folder as a class" in message
    left = load("folder", resize=8, root=str(tmp_path), ignore=("extra",))
    assert (left.class_names, counts(left)) == (("a", "b"), {"train": [1, 1]})
    classes = load("folder", resize=8, root=str(tmp_path), folders="classes")
    assert (classes.class_names, counts(classes)) == (("extra", "train"), {"train": [2, 2]})
    assert "is beside train/" in error_of_folder(tmp_path, folders="splits")


def test_what_an_error_says_to_ignore_is_ignored_whatever_its_name(tmp_path):
    put(tmp_path, "train/a/0.png", "train/b/0.png", "[old] *x/a/0.png")
    assert "config.data.ignore=['[old] *x'] leaves it out" in error_of_folder(tmp_path)
    source = load("folder", resize=8, root=str(tmp_path), ignore=("[old] *x",))
    assert (counts(source), source.remarks) == ({"train": [1, 1]}, ())


def test_a_split_among_classes(tmp_path):
    put(tmp_path, "cat/0.png", "dog/0.png", "test/0.png")
    message = error_of_folder(tmp_path)
    assert "has test/, but no train/; config.data.folders=classes takes every folder" in message
    assert "config.data.ignore=['test'] leaves it out" in message
    assert load("folder", 8, root=str(tmp_path), ignore=["test"]).class_names == ("cat", "dog")
    classes = load("folder", resize=8, root=str(tmp_path), folders="classes")
    assert classes.class_names == ("cat", "dog", "test")
    assert "has no train/; config.data" in error_of_folder(
        tmp_path, folders="splits", ignore=("test",)
    )


def test_a_test_split_without_labels(tmp_path):
    put(tmp_path, "train/a/0.png", "train/b/0.png", "test/0.png")
    message = error_of_folder(tmp_path)
    assert f"{tmp_path / 'test'} has no class folders, and so its images no labels" in message
    assert "give it a folder for each class, or config.data.ignore=['test'] leaves" in message
    assert counts(load("folder", resize=8, root=str(tmp_path), ignore=("test",))) == {
        "train": [1, 1]
    }


@pytest.mark.parametrize("contents", [(), ("train/fox/0.heic", "train/fox/notes.txt")])
def test_a_class_folder_without_images(tmp_path, contents):
    put(tmp_path, "train/cat/0.png", "train/dog/0.png", *contents)
    (tmp_path / "train" / "fox").mkdir(exist_ok=True)
    message = error_of_folder(tmp_path)
    assert f"the class folder {tmp_path / 'train' / 'fox'} holds no image of a kind" in message
    assert "config.data.ignore=['train/fox'] leaves it out" in message
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
        f"left out of {tmp_path} 7 files (0.png, 1.txt, 2.txt, README, cat/Thumbs.db, …); images "
        "are .jpg .jpeg .png .webp .bmp .gif .tif .tiff in the folders of classes"
    )
    ignore = ("*.txt", "*.db", "dog/x.*", "READ*", "?")
    remarks = load("folder", resize=8, root=str(tmp_path), ignore=ignore).remarks
    assert remarks[0] == f"config.data.ignore: nothing in {tmp_path} is called '?'"
    assert remarks[1].startswith(f"left out of {tmp_path} 1 file (0.png);")


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
    with pytest.raises(UserError, match=r"images differ in size: .* is 10×20, .* is 30×9; config"):
        load("folder", root=str(photos))
    with pytest.raises(UserError, match=r"has no folders in it; expected root/train/CLASS/image"):
        load("folder", root=str(photos / "cat"), resize=8)
    with pytest.raises(UserError, match="config.data.root='/nowhere': there is no such directory"):
        load("folder", root="/nowhere")
    with pytest.raises(UserError, match="central_fraction=0.5 is for images that are scaled"):
        load("folder", root=str(photos), central_fraction=0.5)
    with pytest.raises(UserError, match="on_error='ignore' must be one of 'stop', 'skip'"):
        load("folder", root=str(photos), on_error="ignore")


# --- more than 8 bits ---


def deep_png(path, values):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint16)).save(path)


def test_16_bits_become_8_by_the_whole_range(tmp_path):
    deep_png(tmp_path / "a" / "0.png", [[0, 128, 129], [385, 386, 65_535]])
    source = load("folder", root=str(tmp_path))
    found = source.splits["train"].images.decoded(0)
    np.testing.assert_array_equal(found, np.repeat([[[0], [0], [1]], [[1], [2], [255]]], 3, -1))
    assert source.remarks == (
        "images of more than 8 bits per channel, reduced to 8 (65535 becomes 255): 1; their largest "
        "value is 65535",
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
        "images of more than 8 bits per channel, reduced to 8 (65535 becomes 255): 1; their largest "
        "value is 4095; config.data.white=4095 would use the whole range"
    )
    source = load("folder", root=str(tmp_path), white=4095)
    images = source.splits["train"].images
    assert images.decoded(0)[..., 0].tolist() == [[0, 0], [1, 255]]
    assert images.decoder.white == 4095
    assert source.remarks[1].endswith("(4095 becomes 255): 1; their largest value is 4095")
    source = load("folder", root=str(tmp_path), white=2000)
    assert source.splits["train"].images.decoded(0)[..., 0].tolist() == [[0, 1], [1, 255]]
    assert source.remarks[1].endswith("4095; with values above config.data.white, cut off: 1")
    with pytest.raises(UserError, match="white=100 must be 0, or from 255 to 65535"):
        load("folder", root=str(tmp_path), white=100)


def test_values_that_fit_8_bits_keep_them(tmp_path):
    deep_png(tmp_path / "a" / "0.png", [[0, 1, 200]])
    remark = load("folder", root=str(tmp_path)).remarks[0]
    assert remark.endswith("config.data.white=255 would use the whole range")
    images = load("folder", root=str(tmp_path), white=255).splits["train"].images
    assert images.decoded(0)[0, :, 0].tolist() == [0, 1, 200]


def test_floats_in_a_tiff_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a" / "0.tif")
    message = error_of_folder(tmp_path)
    assert "a/0.tif: a TIFF of signed or floating-point numbers; put them into an .npz" in message


# --- damage ---


def damaged_jpeg(rng):
    """A JPEG with bytes that belong to nothing, which libjpeg warns of and goes on."""
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()[:-2] + bytes(30) + file.getvalue()[-2:]


def test_damage_is_told_once_with_the_name_of_the_file(photos, rng, capfd):
    (photos / "cat" / "2.jpg").write_bytes(damaged_jpeg(rng))
    (photos / "dog" / "5.jpg").write_bytes(damaged_jpeg(rng))
    cut = b"Exif\0\0" + exif(6)[:15]
    Image.new("RGB", (16, 16)).save(photos / "dog" / "exif.jpg", exif=cut)
    for _ in range(2):  # decoded, and then cached
        source = load("folder", resize=8, root=str(photos))
        damaged = [remark for remark in source.remarks if "damaged" in remark]
        assert len(damaged) == 1
        assert damaged[0].startswith("damaged, but decoded, of 25 train images: 3: ")
        assert f"{photos}/cat/2.jpg: Corrupt JPEG data: " in damaged[0]
        assert f"{photos}/dog/5.jpg: Corrupt JPEG data: " in damaged[0]
        assert f"{photos}/dog/exif.jpg: Corrupt EXIF data. Expecting to read 12 bytes" in damaged[0]
        assert "extraneous bytes before marker 0xd9" in damaged[0]
    images = source.splits["train"].images
    unusual = [str(file) for file in images.files[images.unusual]]
    assert unusual == [f"{photos}/cat/2.jpg", f"{photos}/dog/5.jpg"]  # Pillow decodes in silence
    for position in range(len(images)):
        images.decoded(position)
    dataset = _prepared(source, resize=8)
    list(eval_batches(dataset, "train", 8))
    said = capfd.readouterr().err
    assert "orrupt" not in said  # TensorFlow may tell of the processor, once in a process


def test_libtiffs_errors_that_pillow_goes_on_after_are_told(tmp_path, capfd):
    put(tmp_path, "a/0.png", "b/0.png")
    path = tmp_path / "a" / "1.tif"
    Image.new("YCbCr", (8, 8)).save(path, compression="tiff_deflate")
    with Image.open(path) as image:
        (start,), (length,) = (image.tag_v2[tag] for tag in (273, 279))  # of its strip
    data = bytearray(path.read_bytes())
    data[start + length - 1] ^= 255  # of its checksum
    path.write_bytes(data)
    for _ in range(2):
        (remark,) = load("folder", resize=8, root=str(tmp_path)).remarks
        assert remark.startswith(
            f"damaged, but decoded, of 3 train images: 1: {path}: ZIPDecode: Decoding error"
        )
    assert capfd.readouterr().err == ""
