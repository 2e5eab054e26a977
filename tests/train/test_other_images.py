"""A run evaluated on other images than its own: its statistics, and classes matched by name."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxcnn import evaluate, load_config, load_run, predict, train
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve
from jaxcnn.train.pretrained import evaluate_pretrained
from tests.conftest import ROOT

CLASSES = {"dark": 20, "grey": 100, "light": 180}


def write_photos(root, brightness, rng, names=CLASSES, count=20):
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = CLASSES[name] + rng.integers(0, 70, (10, 10, 3))
            Image.fromarray((pixels * brightness).astype(np.uint8)).save(
                root / name / f"{i:02}.png"
            )


@pytest.fixture(scope="module")
def photo_run(tmp_path_factory):
    """A run that tells brightnesses apart, and its photos."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder / "photos", 1.0, np.random.default_rng(0))
    overrides = {
        "data.root": folder / "photos", "data.resize": 8, "model.name": "linear", "data.augment": [],
        "train.duration": "60 steps", "schedule.warmup": "0 steps", "train.global_batch_size": 16,
        "optimizer.learning_rate": 0.02,
    }  # fmt: skip
    train(load_config(ROOT / "configs" / "folder.py", overrides), folder / "run")
    return folder / "run", folder / "photos"


def accuracy_of_predictions(workdir, folder):
    """Counted by hand, from what the run says about each file."""
    run = load_run(workdir)
    files = sorted(folder.rglob("*.png"))
    guesses = run.predict_files(files).argmax(axis=1)
    return np.mean([
        run.spec.class_names[guess] == path.parent.name
        for guess, path in zip(guesses, files, strict=True)
    ])  # fmt: skip


@pytest.mark.parametrize("brightness", [1.0, 0.6])
def test_other_images_are_normalised_as_the_runs_own(photo_run, tmp_path, brightness, rng):
    """Darkened ones with the statistics of their own folder would look like those of training."""
    workdir, _ = photo_run
    write_photos(tmp_path / "new", brightness, rng)
    found = evaluate(workdir, data=tmp_path / "new")
    assert found["count"] == 60
    assert found["accuracy"] == accuracy_of_predictions(workdir, tmp_path / "new")
    assert (found["accuracy"] > 0.95) == (brightness == 1.0)


def test_classes_are_matched_by_name(photo_run, tmp_path, rng, caplog):
    """Two of three, whose numbers in their own folder are other ones; even one alone."""
    workdir, _ = photo_run
    write_photos(tmp_path / "two", 1.0, rng, ("grey", "light"))
    assert evaluate(workdir, data=tmp_path / "two")["accuracy"] > 0.95
    assert "has images of 2 of the run's 3 classes; missing: dark" in caplog.text
    write_photos(tmp_path / "one", 1.0, rng, ("light",))
    assert evaluate(workdir, data=tmp_path / "one")["accuracy"] > 0.95
    (tmp_path / "two" / "light").rename(tmp_path / "two" / "lihgt")
    with pytest.raises(
        UserError, match="has a class 'lihgt', which the run does not know; did you"
    ):
        evaluate(workdir, data=tmp_path / "two")


def test_a_folder_that_holds_a_test_split_alone(photo_run, tmp_path, rng):
    workdir, _ = photo_run
    write_photos(tmp_path / "test", 1.0, rng, count=2)
    assert evaluate(workdir, data=tmp_path)["count"] == 6
    with pytest.raises(UserError, match="split='validation': .*valid: test"):
        evaluate(workdir, data=tmp_path, split="validation")
    write_photos(tmp_path / "valid", 1.0, rng, count=1)
    assert evaluate(workdir, data=tmp_path, split="validation")["count"] == 3


def test_only_the_split_is_read(photo_run, tmp_path, rng):
    workdir, _ = photo_run
    write_photos(tmp_path / "test", 1.0, rng, count=2)
    (tmp_path / "train" / "dark").mkdir(parents=True)
    (tmp_path / "train" / "dark" / "broken.png").write_bytes(b"")
    assert evaluate(workdir, data=tmp_path)["count"] == 6


def test_refusals_name_no_setting_that_an_evaluation_lacks(photo_run, tmp_path, rng, error_of):
    workdir, _ = photo_run
    write_photos(tmp_path / "test", 1.0, rng, count=1)
    command = "eval", f"--workdir={workdir}", f"--data={tmp_path}"
    empty = tmp_path / "test" / "empty"
    empty.mkdir()
    errors = [error_of(*command)]
    assert errors[0].startswith(f"the class folder {empty} has no readable image (.jpg")
    assert errors[0].endswith("fill it, or remove it")
    (empty / "0.png").write_bytes(b"")
    errors.append(error_of(*command))
    assert errors[1].endswith("the file is empty; remove it")
    shutil.rmtree(empty)

    write_photos(tmp_path / "more", 1.0, rng, count=1)
    errors.append(error_of(*command))
    assert errors[2] == (
        f"{tmp_path / 'more'} is next to test/ but is not a split (train, validation, test); "
        f"move it away, or use a single split with data={tmp_path / 'test'}"
    )
    assert evaluate(workdir, data=tmp_path / "test")["count"] == 3
    shutil.rmtree(tmp_path / "more")

    write_photos(tmp_path / "testing", 1.0, rng, count=1)
    errors.append(error_of(*command))
    assert errors[3] == f"{tmp_path} has both test/ and testing/ for the test split; rename one"
    shutil.rmtree(tmp_path)
    errors.append(error_of(*command))
    assert errors[4] == f"--data='{tmp_path}': there is no such directory"
    assert "config.data" not in "".join(errors)


def test_a_folder_with_splits(photo_run, tmp_path, rng):
    workdir, _ = photo_run
    for split, count in (("train", 3), ("test", 2)):
        write_photos(tmp_path / split, 1.0, rng, count=count)
    assert evaluate(workdir, data=tmp_path)["count"] == 6
    assert evaluate(workdir, split="train", data=tmp_path)["count"] == 9
    with pytest.raises(
        UserError, match="split='validation': .* has no such split; valid: test, train"
    ):
        evaluate(workdir, split="validation", data=tmp_path)


def test_what_is_refused(photo_run, tmp_path, small_config, blobs, rng):
    workdir, photos = photo_run
    with pytest.raises(UserError, match="there is no such directory"):
        evaluate(workdir, data=tmp_path / "nowhere")
    small_config.train.duration = "10 steps"
    train(small_config, tmp_path / "blobs", dataset=blobs)
    with pytest.raises(UserError, match="has a class 'dark', which the run does not know"):
        evaluate(tmp_path / "blobs", data=photos)


def test_data_that_moved_is_found_where_it_is_said_to_be(photo_run, tmp_path, monkeypatch):
    """Wherever one stands: the config's record is absolute, and the fingerprint guards the content."""
    workdir, photos = photo_run
    monkeypatch.chdir(tmp_path)
    before = evaluate(workdir)
    moved = tmp_path / "moved"
    shutil.copytree(photos, moved)
    away = photos.rename(photos.with_name("away"))
    try:
        with pytest.raises(UserError, match=rf"config.data.root='{photos}': there is no such"):
            evaluate(workdir)
        assert evaluate(workdir, location={"data.root": "moved"}) == before
        (moved / "dark" / "00.png").unlink()
        with pytest.raises(UserError, match="this run was trained on other data"):
            evaluate(workdir, location={"data.root": moved})
    finally:
        away.rename(photos)
    with pytest.raises(UserError, match="config.seed cannot change for an evaluation"):
        evaluate(workdir, location={"seed": 1})


def test_deep_images_are_told_by_evaluation_and_prediction(photo_run, tmp_path, caplog):
    """12-bit values in 16-bit files are black to a run on 8-bit files."""
    workdir, _ = photo_run
    for name, value in CLASSES.items():
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((10, 10), 16 * value, np.uint16)).save(tmp_path / name / "0.png")
    evaluate(workdir, data=tmp_path)
    assert (
        "images of more than 8 bits per channel are reduced to 8 bits (65535 becomes 255): 3"
        in caplog.text
    )
    caplog.clear()
    load_run(workdir).predict_files([tmp_path / "light" / "0.png"])
    assert (
        "light/0.png: 16 bits per channel are reduced to 8 (65535 becomes 255; largest value: 2880)"
        in caplog.text
    )


def test_images_of_too_many_pixels(photo_run, tmp_path):
    """By the limit of the run; a run that was made before there was one has the default."""
    workdir, photos = photo_run
    shutil.copytree(workdir, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    config["data"]["max_image_pixels"] = 99
    path.write_text(json.dumps(config))
    image, message = next(photos.rglob("*.png")), "10×10 pixels are more than config.data.max_image"
    with pytest.raises(UserError, match=f"{image}: {message}_pixels=99"):
        predict(tmp_path / "run", [image])
    with pytest.raises(UserError, match=f"{message}_pixels=99"):
        evaluate(tmp_path / "run", data=photos)
    del config["data"]["max_image_pixels"]
    path.write_text(json.dumps(config))
    assert len(predict(tmp_path / "run", [image])) == 1
    assert evaluate(tmp_path / "run", data=photos)["count"] == 60
    again = resolve(load_run(tmp_path / "run").config)
    assert again.data.max_image_pixels == 100_000_000
    train(again, tmp_path / "run")  # is resumed, not refused for its settings


def test_a_split_of_another_name_is_refused(photo_run):
    workdir, photos = photo_run
    with pytest.raises(
        UserError, match="split 'foo' does not exist; valid: test, train, validation"
    ):
        evaluate(workdir, "foo", data=photos)


def test_json_names_the_data(photo_run, run_cli):
    workdir, photos = photo_run
    code, out, _ = run_cli("eval", f"--workdir={workdir}", f"--data={photos}", "--json")
    assert code == 0
    assert json.loads(out)["data"] == str(photos)
    assert "split" not in json.loads(out)


def test_weights_of_a_run_are_evaluated_with_its_statistics(photo_run, tmp_path, rng, caplog):
    """`eval --config --config.init_from`, on darkened photos, finds what `eval --data` finds."""
    workdir, _ = photo_run
    write_photos(tmp_path / "new" / "train", 0.6, rng, count=2)
    write_photos(tmp_path / "new" / "test", 0.6, rng)
    overrides = {
        "data.root": tmp_path / "new", "data.resize": 8, "model.name": "linear",
        "init_from": str(workdir), "data.validation_fraction": 0.0, "train.global_batch_size": 2,
    }  # fmt: skip
    config = load_config(ROOT / "configs" / "folder.py", overrides)
    found = evaluate_pretrained(config, "test")
    assert found == evaluate(workdir, data=tmp_path / "new")
    assert "images are normalised as those that" in caplog.text
    given = load_config(
        ROOT / "configs" / "folder.py", {**overrides, "data.statistics": "imagenet"}
    )
    assert evaluate_pretrained(given, "test")["loss"] != found["loss"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.zeros((8, 8, 3), np.uint8),
            r"images of shape \(8, 8, 3\): this run takes \(images, 8, 8, 3\)",
        ),
        (np.zeros((2, 8, 8, 1), np.uint8), r"images of shape \(2, 8, 8, 1\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"images of shape \(2, 3, 8, 8\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), "there are no images"),
        (np.zeros((2, 8, 8, 3), np.float32), "images of float32: this run takes uint8 pixels"),
        ([], "there are no images"),
        ("photo.png", "images='photo.png' must be an array, or a list of paths"),
    ],
)
def test_arrays_that_are_not_the_runs_are_refused(photo_run, images, message):
    with pytest.raises(UserError, match=message):
        predict(photo_run[0], images)
