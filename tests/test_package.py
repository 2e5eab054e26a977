"""The wheel, used from an empty folder: its configs by name, and a user's own parts, without a fork."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

EXAMPLE = (ROOT / "docs" / "own_parts.md").read_text()
MODULE = EXAMPLE.split("```python\n")[1].split("```")[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that holds the installed wheel."""
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, ROOT]
    subprocess.run(build, check=True)
    (wheel,) = wheels.glob("jaxcnn-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder, wheel], check=True)
    return folder


@pytest.fixture
def jaxcnn(site, tmp_path):
    """Starts a command in an empty folder, with the wheel."""

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "jaxcnn", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def finished(process, code=0):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def test_the_wheel_holds_all_that_it_needs(site, jaxcnn):
    assert (site / "jaxcnn" / "py.typed").exists()
    listed = json.loads(finished(jaxcnn("configs", "--json")))
    assert {config["name"] for config in listed} == {
        path.relative_to(ROOT / "configs").with_suffix("").as_posix()
        for path in (ROOT / "configs").rglob("*.py")
    }
    assert all(config["file"].startswith(str(site)) for config in listed)


def test_own_parts_train_resume_evaluate_and_predict(jaxcnn, tmp_path):
    """The example of docs/own_parts.md."""
    (tmp_path / "my_parts.py").write_text(MODULE)
    train = (
        "train", "--config=digits_lenet", "--workdir=run", "--config.imports=['my_parts']",
        "--config.model.name=two_layers", "--config.optimizer.name=slow_start",
        "--config.train.duration=600 steps", "--config.checkpoint.every=20 steps",
        "--config.eval.every=100 steps", "--config.log.every=20 steps",
    )  # fmt: skip
    process = jaxcnn(*train)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (metrics.exists() and '"step": 60' in metrics.read_text()):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    output = finished(jaxcnn(*train))
    assert "resuming run at step " in output
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "completed"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["imports"] == ["my_parts"]
    assert f"{result['best']['test']['accuracy']:.2%}" in finished(jaxcnn("eval", "--workdir=run"))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "digit.png")
    assert "%" in finished(jaxcnn("predict", "--workdir=run", "digit.png"))
    assert "two_layers" in finished(jaxcnn("models", "two*", "--imports=my_parts"))
    assert "slow_start" in finished(jaxcnn("optimizers", "slow*", "--imports=my_parts"))
    (tmp_path / "my_parts.py").unlink()
    output = finished(jaxcnn("eval", "--workdir=run"), code=1)
    assert (
        "jaxcnn: error: config.imports: 'my_parts' cannot be imported: ModuleNotFoundError"
        in output
    )
