"""Each kind of picture shows what the network computes."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.spec import DataSpec, TargetScale
from jaxcnn.diagnose.inside.filters import filters
from jaxcnn.diagnose.inside.images import Images, images_of, shown
from jaxcnn.diagnose.inside.maximisation import maximised
from jaxcnn.diagnose.inside.saliency import _explained
from jaxcnn.diagnose.inside.strongest import strongest
from jaxcnn.diagnose.inside.table import KINDS
from jaxcnn.errors import UserError
from jaxcnn.train.extraction import features_of_images, features_of_split
from jaxcnn.train.saved_run import load_run
from tests.diagnose.test_pictures import shown as panels_of


@pytest.fixture(scope="module")
def run(workdir):
    return load_run(workdir)


def test_the_strongest_is_the_largest_of_the_map_and_its_place(run):
    dataset, units = run.dataset("test", {}), np.array([5, 1])
    values, places = strongest(run, dataset, "test", "stage2", units)
    maps = features_of_split(run, dataset, "test", "stage2")
    np.testing.assert_allclose(values, maps.max(axis=(1, 2))[:, units], rtol=1e-5)
    for image in (0, 7, 100):
        for column, unit in enumerate(units):
            there = maps[(image, *places[image, column], unit)]
            np.testing.assert_allclose(there, values[image, column], rtol=1e-5)
    values, places = strongest(run, dataset, "test", "pre_logits", units)
    np.testing.assert_allclose(values, features_of_split(run, dataset, "test")[:, units], rtol=1e-5)
    assert not places.any()


def test_ascent_to_a_pixel_lights_it_and_leaves_the_rest_at_the_mean(untrained):
    """Before the head of a linear network, a unit is a pixel; jitter moves it by one at most."""
    units = np.array([4 * 16 + 5])
    pixels, reached = maximised(untrained("linear", (16, 16, 1)), "pre_logits", units)
    image = pixels[0, ..., 0]
    np.testing.assert_allclose(reached, (image[4, 5] - 100) / 50, rtol=1e-5)
    assert image[4, 5] > 200
    row, column = np.unravel_index(image.argmax(), image.shape)
    assert abs(row - 4) <= 1
    assert abs(column - 5) <= 1
    np.testing.assert_allclose(image[10:], 100, atol=5)
    np.testing.assert_allclose(image[:, 11:], 100, atol=5)


def test_ascent_excites_more_than_data_and_stays_within_the_pixels_range(run):
    units = np.array([2, 0])
    values, _ = strongest(run, run.dataset("test", {}), "test", "stage1", units)
    pixels, reached = maximised(run, "stage1", units)
    assert (reached > values.max(axis=0)).all()
    assert -1e-3 <= pixels.min() < pixels.max() <= 255 + 1e-3
    maps = features_of_images(run, pixels, "stage1")
    middle = maps[[0, 1], maps.shape[1] // 2, maps.shape[2] // 2, units]
    np.testing.assert_allclose(middle, reached, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "shape", "layer"),
    [
        ("lenet5", (16, 16, 1), "c1"),
        ("mlp", (4, 6, 3), "dense1"),
        ("googlenet", (32, 32, 3), "conv1/conv"),
    ],
)
def test_filters_are_the_first_layer_s_kernels_on_one_scale(untrained, name, shape, layer):
    run = untrained(name, shape)
    kernel = run.variables["params"]
    for part in layer.split("/"):
        kernel = kernel[part]
    kernel = np.asarray(kernel["kernel"])
    figure = filters(run)
    pictures, _ = panels_of(figure)
    assert f"{name}, {layer}: {kernel.shape[-1]} kernels of" in figure.get_suptitle()
    largest = np.abs(kernel).max()
    assert f"black −{largest:.3g}, white +{largest:.3g}" in figure.get_suptitle()
    for number in (0, 5):
        values = (pictures[number] - 0.5) * 2 * largest
        expected = kernel[..., number].reshape(shape if name == "mlp" else kernel.shape[:-1])
        np.testing.assert_allclose(values, expected.squeeze(), atol=1e-6)


def test_images_are_evenly_spaced_over_a_split(run):
    given = images_of(run, (), "test", 3)
    test = run.dataset("test", {}).splits["test"]
    np.testing.assert_array_equal(given.pixels, np.asarray(test.images)[[0, 180, 359]])
    assert given.names == [str(label) for label in given.labels]
    np.testing.assert_allclose(shown(given.pixels, run.spec), given.pixels / 255)
    of_floats = DataSpec((4, 4, 1), ("a",), np.float32([0.5]), np.float32([0.25]), "float32")
    np.testing.assert_allclose(shown(np.array([[0.0], [0.5], [2.0]]), of_floats), [[0], [0.5], [1]])
    with pytest.raises(UserError, match="images have 4 channels; a picture shows 1 or 3"):
        shown(np.zeros((1, 2, 2, 4)), DataSpec((2, 2, 4), ("a",), *np.ones((2, 4)), "uint8"))


def test_a_mistake_is_explained_by_both_classes_and_a_regression_by_its_output():
    names, zero = ("cat", "dog"), np.zeros(1, np.float32)
    spec = DataSpec((2, 2, 1), names, zero, zero + 1, "uint8")
    answers = np.array([[0.9, 0.1], [0.7, 0.3]])
    run = SimpleNamespace(spec=spec, predict=lambda pixels: answers)
    pixels = np.zeros((2, 2, 2, 1))
    which, outputs, texts = _explained(run, Images(pixels, ["cat", "dog"], np.array([0, 1])))
    assert (which.tolist(), outputs.tolist()) == ([0, 1, 1], [0, 0, 1])
    assert texts[1:] == ["dog\npredicted: cat\n70%", "dog\ntrue class: dog\n30%"]
    which, outputs, _ = _explained(run, Images(pixels, ["a.png", "b.png"], None))
    assert (which.tolist(), outputs.tolist()) == ([0, 1], [0, 0])
    scale = TargetScale(np.float32(10), np.float32(20))
    spec = DataSpec((2, 2, 1), (), zero, zero + 1, "uint8", scale)
    run = SimpleNamespace(spec=spec, predict=lambda pixels: np.array([3.25, -8]))
    which, outputs, texts = _explained(run, Images(pixels, ["3.", "-9."], np.zeros(2)))
    assert (which.tolist(), outputs.tolist()) == ([0, 1], [0, 0])
    assert texts == ["3.25\n(is 3.)", "-8\n(is -9.)"]


def test_the_command_draws_every_kind(workdir, run, tmp_path, run_cli):
    pixels = np.asarray(run.dataset("test", {}).splits["test"].images[3])
    Image.fromarray(pixels[..., 0]).save(tmp_path / "seven.png")
    few = ("--units=2,0", "--layer=stage1")
    for kind, flags in {
        "filters": (),
        "feature_maps": (*few, tmp_path / "seven.png"),
        "maximisation": few,
        "patches": (*few, "--count=3", "--split=test"),
        "saliency": ("--count=2",),
        "augmentations": ("--count=2",),
    }.items():
        out = tmp_path / f"{kind}.png"
        code, said, err = run_cli("picture", kind, f"--workdir={workdir}", *flags, f"--out={out}")
        assert code == 0, err
        assert said == f"{kind} of simple_cnn, step {run.step}: {out}\n"
        assert out.stat().st_size > 2000
    assert len(KINDS) == len(list(tmp_path.glob("*.png"))) - 1


def test_mistakes(workdir, error_of):
    for arguments, message in (
        (["patch"], "picture 'patch' does not exist; did you mean 'patches'? valid: augmentations, "),
        (["filters", "--layer=stem"], "--layer does not go with filters"),
        (["patches", "a.png"], "IMAGE does not go with patches"),
        (["saliency", "--units=3"], "--units does not go with saliency"),
        (["saliency", "a.png", "--count=3"], "--count chooses images of the data; IMAGE files take"),
        (["patches", "--units=a"], "--units=a must be numbers, e.g. 0,3,7"),
        (["patches", "--units=64"], "--units=64: stage2 has 8 units, 0 to 7"),
        (["patches", "--count=0"], "--count=0 must be at least 1"),
        (["patches", "--layer=stage7"], "--layer='stage7': did you mean 'stage2'"),
        (["feature_maps", "--layer=pre_logits"], "--layer='pre_logits' is no feature map; valid: stage1"),
        (["filters", "--out=a.jpg"], "--out=a.jpg must end in .png"),
        (["saliency", "--split=tset"], "--split='tset': did you mean 'test'"),
    ):  # fmt: skip
        assert message in error_of("picture", *arguments, f"--workdir={workdir}")
