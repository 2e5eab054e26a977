"""What `jaxcnn export --to=….onnx` refuses without the extra `onnx`; tests/onnx/ has the files."""

import sys
from types import SimpleNamespace

import pytest

from jaxcnn import load_config, train


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("onnx") / "run"
    settings = {"model.name": "linear", "data.augment": "[]", "train.duration": "5 steps"}
    train(load_config("digits_lenet", {**settings, "schedule.warmup": "0 steps"}), workdir)
    return workdir


def not_converting(network, images, **names):
    raise NotImplementedError("No plugin for 'sort'\nand a page of the network")


@pytest.mark.parametrize(("jax2onnx", "reason"), [
    (None, "ONNX needs the package jax2onnx: pip install 'jaxcnn[onnx]'"),
    (
        SimpleNamespace(to_onnx=not_converting),
        "this network does not convert: NotImplementedError (No plugin for 'sort')",
    ),
], ids=["missing", "not converting"])  # fmt: skip
def test_one_line_and_no_file(workdir, tmp_path, error_of, monkeypatch, jax2onnx, reason):
    monkeypatch.setitem(sys.modules, "jax2onnx", jax2onnx)  # None: it cannot be imported
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    target = tmp_path / "out" / "net.onnx"
    error = error_of("export", f"--workdir={workdir}", f"--to={target}")
    assert error == f"--to={target}: {reason}; --to={target.with_suffix('.stablehlo')} works"
    assert not target.parent.exists()
