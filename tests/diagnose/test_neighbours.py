"""Features before the head, and the images that are nearest by them."""

import numpy as np
import pytest
from PIL import Image

from jaxcnn import load_config, train
from jaxcnn.diagnose.neighbours import nearest
from jaxcnn.models import features
from jaxcnn.train.extraction import features_of_images, features_of_split, layers_of
from jaxcnn.train.saved_run import load_run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    settings = {
        "model.name": "simple_cnn", "model.widths": "(4, 8)", "data.augment": "[]",
        "data.placement": "device", "schedule.warmup": "0 steps", "train.duration": "20 steps",
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("trained")
    train(load_config("digits_lenet", settings), folder / "run")
    return folder / "run"


def test_features_are_what_the_head_sees(workdir):
    run = load_run(workdir)
    dataset = run.dataset("test", {})
    found = features_of_split(run, dataset, "test")
    pixels = np.asarray(dataset.splits["test"].images)
    images = (pixels.astype(np.float32) - run.spec.mean) * (1 / run.spec.std)
    expected = features(run.model, run.variables, images)["pre_logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features_of_images(run, pixels[:3]), found[:3], rtol=1e-4, atol=1e-5)
    assert layers_of(run)["pre_logits"] == found.shape[1:]
    stage = features_of_images(run, pixels[:2], "stage1")
    assert stage.shape == (2, *layers_of(run)["stage1"])


def test_the_nearest_come_first(rng):
    there = rng.normal(size=(50, 8))
    positions, cosines = nearest(3 * there[[7, 12]], there, 4)
    assert positions[:, 0].tolist() == [7, 12]
    np.testing.assert_allclose(cosines[:, 0], 1)
    assert (np.diff(cosines) <= 0).all()
    length = np.linalg.norm
    of_7 = there @ there[7] / (length(there, axis=1) * length(there[7]))
    np.testing.assert_array_equal(positions[0], np.argsort(-of_7)[:4])
    assert nearest(there[:1], there[:3], 8)[0].shape == (1, 3)


def test_the_commands(workdir, tmp_path, run_cli):
    run, file = f"--workdir={workdir}", tmp_path / "features.npz"
    code, out, err = run_cli("features", run, f"--to={file}", "--split=validation")
    assert code == 0, err
    assert "pre_logits of 144 validation images" in out
    stored = np.load(file)
    assert len(stored["features"]) == len(stored["labels"]) == 144
    assert stored["class_names"].tolist() == [str(digit) for digit in range(10)]
    image = tmp_path / "seven.png"
    pixels = np.asarray(load_run(workdir).dataset("train", {}).splits["train"].images[7])
    Image.fromarray(pixels[..., 0]).save(image)
    picture = tmp_path / "near.png"
    code, out, err = run_cli("neighbours", run, image, f"--out={picture}", "--count=5")
    assert code == 0, err
    assert picture.stat().st_size > 5000
    many = (image,) * 9
    out = run_cli(
        "neighbours", run, *many[:1], f"--out={picture}", "--count=200", "--split=validation"
    )[1]
    assert "1 image(s), 144 neighbours of each" in out
    for wrong, message in (
        (("features", run, f"--to={file}", "--layer=stage9"), "--layer='stage9': did you mean"),
        (("features", run, "--to=out.txt"), "--to=out.txt must end in .npz"),
        (("features", run, "--to=/proc/out.npz"), "--to=/proc/out.npz cannot be written: No such"),
        (("export", run, "--to=/proc/a.stablehlo"), "--to=/proc/a.stablehlo cannot be written"),
        (("report-run", workdir, "--to=/proc/a.html"), "--to=/proc/a.html cannot be written"),
        (("neighbours", run, *many, "--count=50"), "at most 400 images; this one would have 459"),
        (("picture", "patches", run, "--units=0,1", "--count=201"), "this one would have 402"),
        (("picture", "patches", run, "--count=51"), "this one would have 408"),
        (("neighbours", run, tmp_path / "no.png"), "cannot read the image"),
    ):
        code, _, err = run_cli(*wrong)
        assert code == 1
        assert message in err
