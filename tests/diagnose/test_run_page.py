"""`jaxcnn report-run`: the page of a run says what the run is."""

import re

import numpy as np
import pytest
from PIL import Image

from jaxcnn import load_config, train
from jaxcnn.diagnose.calibration import Calibration
from jaxcnn.diagnose.run_page import run_page
from tests.conftest import QUICK

DIGITS = {
    "model.name": "linear",
    "data.augment": "[]",
    "data.placement": "device",
    "schedule.warmup": "0 steps",
    "train.duration": "20 steps",
}


@pytest.fixture
def outside():
    """Finds what a page would load from elsewhere."""
    return lambda page: re.findall(
        r'(?:src|href)="(?!data:)[^"]*"|url\((?!data:)[^)]*\)|@import', page
    )


def test_the_page_of_a_classifier(tmp_path, outside):
    result = train(load_config("digits_lenet", DIGITS), tmp_path / "run")
    page, answer = run_page(tmp_path / "run")
    test = result["best"]["test"]
    assert f"linear: {test['accuracy']:.2%} accuracy on 360 test images" in answer
    assert answer in page
    for which in ("best", "final"):
        for split in ("validation", "test"):
            cells = f"<td>{result[which][split]['accuracy']:.2%}</td>"
            assert re.search(rf"<td>{which} \(step [\d,]+\), {split}</td>{cells}", page)
    assert page.count("data:image/png;base64,") == 4  # curves, confusion, mistakes, calibration
    assert "Most confident mistakes" in page
    assert "&#34;name&#34;: &#34;linear&#34;" in page  # the settings
    assert outside(page) == []


def test_the_page_of_a_regression(tmp_path, outside, run_cli):
    small = {"model.widths": "(4,)", "train.duration": "10 steps", "data.placement": "device"}
    train(load_config("digits_rotation", small), tmp_path / "run")
    page, answer = run_page(tmp_path / "run", "validation")
    assert "validation images" in answer
    assert "mean absolute error" in page
    assert page.count("data:image/png;base64,") == 1
    assert outside(page) == []
    # Features have the angles themselves beside them, in degrees.
    run, file = f"--workdir={tmp_path / 'run'}", tmp_path / "f.npz"
    assert run_cli("features", run, f"--to={file}", "--split=validation")[0] == 0
    angles = np.load(file)["labels"]
    assert 20 < angles.std() < 30
    assert angles.min() > -46


def test_photographs_and_the_command(tmp_path, rng, run_cli):
    for name in ("<dark>", "light"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 256, (10, 10, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i:02}.png")
    run = tmp_path / "run"
    code, _, err = run_cli(
        "train", "--config=folder", f"--workdir={run}", f"--config.data.root={tmp_path / 'photos'}",
        "--config.data.resize=8", *QUICK, "--config.train.global_batch_size=16",
    )  # fmt: skip
    assert code == 0, err
    code, out, err = run_cli("report-run", run, "--split=train")
    assert code == 0, err
    assert f"page: {run / 'report.html'}" in out
    page = (run / "report.html").read_text()
    assert "<td>&lt;dark&gt;</td>" in page
    assert "<dark>" not in page
    for wrong, message in (
        ((run, "--to=page.txt"), "--to=page.txt must end in .html"),
        ((run, "--split=tset"), "--split='tset': did you mean 'test'?"),
        ((tmp_path / "none",), "holds no run"),
    ):
        code, _, err = run_cli("report-run", *wrong)
        assert code == 1
        assert message in err


def test_calibration():
    """Ten predictions at 0.95, of which eight are right; ten at 0.65, of which all are."""
    probabilities = np.repeat([[0.95, 0.05], [0.65, 0.35]], 10, axis=0)
    labels = np.array([0] * 8 + [1] * 2 + [0] * 10)
    found = Calibration.of(probabilities, labels)
    assert found.counts.sum() == 20
    assert found.counts[[9, 14]].tolist() == [10, 10]
    assert found.accuracy[[9, 14]].tolist() == [1.0, 0.8]
    np.testing.assert_allclose(found.confidence[[9, 14]], [0.65, 0.95])
    assert found.error == pytest.approx((0.15 + 0.35) / 2)
    assert np.isnan(found.accuracy[0])
