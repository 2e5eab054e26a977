"""An exported network gives the run's outputs, in a process that has JAX and nothing of ours."""

import json
import subprocess
import sys
from functools import partial

import jax
import jax.export
import numpy as np
import pytest

from jaxcnn import load_config, train
from jaxcnn.data.spec import DataSpec
from jaxcnn.train.exporting import exported
from jaxcnn.train.saved_run import load_run
from tests.models.zoo import small, variables_for

SERVE = """
import sys
sys.modules["jaxcnn"] = sys.modules["flax"] = sys.modules["tensorflow"] = None  # cannot be imported
import jax, jax.export
import numpy as np

file, images, answers = sys.argv[1:]
program = jax.export.deserialize(bytearray(open(file, "rb").read()))
np.save(answers, np.asarray(program.call(np.load(images))))
"""


def served(file, images, folder, program=SERVE):
    np.save(folder / "images.npy", images)
    subprocess.run(
        [sys.executable, "-c", program, file, folder / "images.npy", folder / "answers.npy"],
        check=True, cwd=folder, timeout=120,
    )  # fmt: skip
    return np.load(folder / "answers.npy")


def logits_of(run, pixels):
    """The outputs of the network itself."""
    images = (pixels.astype(np.float32) - run.spec.mean) * (1 / run.spec.std)
    return np.asarray(run.model.apply(run.variables, images, train=False))


@pytest.mark.parametrize("preprocessing", [False, True])
def test_the_file_gives_the_logits(tmp_path, rng, small_config, blobs, preprocessing):
    """Of a network with batch normalisation, whose weights are averaged; of any number of images."""
    small_config.averaging = {"name": "ema", "decay": 0.9}
    train(small_config, tmp_path / "run", dataset=blobs)
    run = load_run(tmp_path / "run")
    file = tmp_path / "net.stablehlo"
    file.write_bytes(exported(run.model, run.variables, run.spec, preprocessing))
    for count in (1, 7):
        pixels = rng.integers(0, 256, (count, 12, 12, 1)).astype(np.uint8)
        normalised = (pixels.astype(np.float32) - run.spec.mean) * (1 / run.spec.std)
        found = served(file, pixels if preprocessing else normalised, tmp_path)
        np.testing.assert_allclose(found, logits_of(run, pixels), atol=1e-5)


@pytest.mark.parametrize("name", ["resnet20_cifar", "googlenet"])
def test_networks_of_other_kinds(tmp_path, rng, name):
    """Shortcuts, branches, auxiliary heads; with a number of images that is not fixed."""
    model, shape = small(name)
    images = rng.normal(size=(3, *shape)).astype(np.float32)
    variables = variables_for(model, shape)
    one = np.ones(shape[-1], np.float32)
    spec = DataSpec(shape, tuple(map(str, range(10))), 0 * one, one, "float32")
    program = jax.export.deserialize(bytearray(exported(model, variables, spec)))
    expected = np.asarray(jax.jit(partial(model.apply, train=False))(variables, images))
    np.testing.assert_allclose(np.asarray(program.call(images)), expected, rtol=1e-4, atol=1e-5)


def test_the_command(tmp_path, run_cli):
    settings = {"model.name": "linear", "data.augment": "[]", "train.duration": "20 steps"}
    train(load_config("digits_lenet", {**settings, "schedule.warmup": "0 steps"}), tmp_path / "run")
    run, target = f"--workdir={tmp_path / 'run'}", tmp_path / "out" / "digits.stablehlo"
    code, out, err = run_cli("export", run, f"--to={target}", "--preprocessing")
    assert code == 0, err
    assert f"linear, step 20: {target}" in out
    about = json.loads(target.with_name(f"{target.name}.json").read_text())
    assert about["takes"] == "uint8"
    assert about["class_names"] == [str(digit) for digit in range(10)]
    code, _, err = run_cli("export", run, "--to=net.pt")
    assert code == 1
    assert "--to=net.pt must end in .stablehlo or .onnx" in err
