"""Every family of networks as an ONNX file, which onnxruntime runs: `make test-onnx`.

Not part of `make test`, which needs neither jax2onnx nor onnxruntime. Prints a table of docs/serving.md.
"""

import json
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

from jaxcnn import load_config, train
from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError
from jaxcnn.layers.activations import ACTIVATIONS
from jaxcnn.layers.norm import NORMS
from jaxcnn.layers.pooling import POOLS
from jaxcnn.train.onnx import exported_to_onnx
from jaxcnn.train.saved_run import load_run
from tests.models.zoo import small, variables_for
from tests.train.test_collectives import families
from tests.train.test_exporting import logits_of, served

SERVE = """
import sys
sys.modules["jaxcnn"] = sys.modules["jax"] = sys.modules["flax"] = None  # cannot be imported
import numpy as np
import onnxruntime

file, images, answers = sys.argv[1:]
session = onnxruntime.InferenceSession(file)
np.save(answers, session.run(None, {"images": np.load(images)})[0])
"""


def converted(name, preprocessing=False, **fields):
    """A small network of the kind, as a file, and its difference from the network."""
    model, shape = small(name, **fields)
    one = np.ones(shape[-1], np.float32)
    spec = DataSpec(shape, tuple(map(str, range(10))), 100 * one, 50 * one, "uint8")
    return exported_to_onnx(model, variables_for(model, shape), spec, preprocessing)


@pytest.fixture(scope="module")
def table():
    rows = []
    yield rows
    print("\n| Family | Small kind of | Largest difference, of the largest output |\n|---|---|---|")
    for family, name, difference in rows:
        print(f"| {family} | `{name}` | {difference:.1e} |")


@pytest.mark.parametrize("family", families())
def test_every_family_converts(family, table):
    content, difference = converted(name := families()[family])
    table.append((family, name, difference))
    onnx.checker.check_model(onnx.load_from_string(content))


def test_layers_are_not_those_of_this_machine():
    """A CPU's own maxima are taken over slices (cpu/pooling.py)."""
    content, _ = converted("simple_cnn", pooling="max")
    model = onnx.load_from_string(content)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert (kinds["Conv"], kinds["MaxPool"], kinds["Max"], kinds["Slice"]) == (2, 2, 0, 0)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 23)]


@pytest.mark.parametrize("settings", [
    *({"activation": name} for name in ACTIVATIONS),
    *({"norm": name, "norm_groups": 2} for name in NORMS),
    *({"pooling": name} for name in POOLS),
], ids=str)  # fmt: skip
def test_every_setting_converts(settings):
    converted("simple_cnn", preprocessing=True, **settings)


@pytest.mark.parametrize(("name", "reason"), [
    ("mlp", "^onnxruntime does not run this network: NotImplemented "),
    ("simple_cnn", "^this network does not convert: TypeError .*, got bfloat16"),
])  # fmt: skip
def test_bfloat16_is_refused(name, reason):
    with pytest.raises(UserError, match=reason):
        converted(name, dtype="bfloat16")


@pytest.mark.parametrize("preprocessing", [False, True])
def test_the_command(tmp_path, rng, run_cli, preprocessing):
    """Its file gives the run's logits, of any number of images, where neither jaxcnn nor JAX is."""
    settings = {"model.name": "simple_cnn", "data.augment": "[]", "train.duration": "20 steps"}
    train(load_config("digits_lenet", {**settings, "schedule.warmup": "0 steps"}), tmp_path / "run")
    target = tmp_path / "digits.onnx"
    flags = ["--preprocessing"] * preprocessing
    code, out, err = run_cli("export", f"--workdir={tmp_path / 'run'}", f"--to={target}", *flags)
    assert code == 0, err
    assert f"simple_cnn, step 20: {target}" in out
    assert "onnxruntime gives the run's outputs, to " in out
    about = json.loads((tmp_path / "digits.onnx.json").read_text())
    assert about["preprocessing"] == preprocessing
    run = load_run(tmp_path / "run")
    for count in (1, 7):
        pixels = rng.integers(0, 256, (count, *run.spec.image_shape)).astype(np.uint8)
        normalised = (pixels.astype(np.float32) - run.spec.mean) * (1 / run.spec.std)
        found = served(target, pixels if preprocessing else normalised, tmp_path, SERVE)
        np.testing.assert_allclose(found, logits_of(run, pixels), atol=1e-5)


class Wrong(onnxruntime.InferenceSession):
    """Answers 0.01 too much."""

    def run(self, *arguments):
        return [super().run(*arguments)[0] + 0.01]


class Refusing:
    def __init__(self, *_, **__):
        raise RuntimeError("Unsupported pooling size : 4\nand more")


@pytest.mark.parametrize(("session", "reason"), [
    (Wrong, r"^in onnxruntime this network's outputs differ by \d.\de-0\d of the largest$"),
    (Refusing, r"^onnxruntime does not run this network: RuntimeError \(Unsupported pooling size : 4\)$"),
])  # fmt: skip
def test_what_is_not_the_network_is_refused(monkeypatch, session, reason):
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(UserError, match=reason):
        converted("lenet5")
