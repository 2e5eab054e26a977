"""Reading torch's own files: `make test-torch`."""

import argparse
import collections
import datetime
import os
import pathlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from jaxcnn.errors import UserError
from jaxcnn.transfer.weight_files import as_arrays, read_weights

TENSORS = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "a.bias": torch.ones(2).bfloat16(),
    "b.weight": torch.nn.Parameter(torch.ones(2).half()),
    "b.count": torch.tensor(3),
    "c.weight": np.arange(6.0).reshape(2, 3).T,
    "d.weight": np.arange(3, dtype=">f4"),
}

# What checkpoints hold beside their tensors.
COMPANY = {
    "args": argparse.Namespace(lr=0.1, out=pathlib.Path("/x")),
    "best": np.float64(3),
    "best_of": {"top1": np.float32(3), "done": np.bool_(True)},
    "history": np.arange(3),
    "names": np.array(["a", None], dtype=object),
    "texts": np.array(["a"]),
    "lists": collections.defaultdict(list, {"a": [1]}),
    "queue": collections.deque([1, 2], maxlen=3),
    "counts": collections.Counter("aab"),
    "when": datetime.datetime(2020, 1, 1),
    "took": datetime.timedelta(1),
    "size": torch.Size([1]),
    "device": torch.device("cpu"),
    "dtype": torch.float32,
    "set": {1, 2},
    "slice": slice(1),
    "optimizer": torch.optim.SGD([torch.ones(2)], lr=0.1, momentum=0.9).state_dict(),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("entry", [None, "state_dict", "model", "anything"])
def test_state_dicts_and_checkpoints(legacy, entry, tmp_path):
    state_dict = collections.OrderedDict(TENSORS)
    saved = state_dict if entry is None else {entry: state_dict, **COMPANY}
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    contents = read_weights(tmp_path / "x.pth")
    tensors = as_arrays(contents.entries[entry or ""], "x")
    np.testing.assert_array_equal(tensors["a.weight"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(tensors["c.weight"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(tensors["d.weight"], [0, 1, 2])
    assert tensors["b.count"] == 3
    floats = {name: value.dtype for name, value in tensors.items() if name != "b.count"}
    assert set(floats.values()) == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", COMPANY)
def test_what_stands_beside_the_tensors(name, tmp_path):
    torch.save({"model": TENSORS, name: COMPANY[name]}, tmp_path / "x.pth")
    assert set(read_weights(tmp_path / "x.pth").entries["model"]) == set(TENSORS)


def test_nothing_in_a_file_is_run(tmp_path):
    class Attack:
        def __init__(self, function):
            self.function = function

        def __reduce__(self):
            return self.function, (str(tmp_path / "owned"),)

    for function in (os.mkdir, os.system, eval, Path.mkdir, np.fromfile, open):
        for write in (
            torch.save,
            lambda value, path: Path(path).write_bytes(pickle.dumps(value, protocol=2)),
        ):
            write({"a.weight": Attack(function)}, tmp_path / "x.pth")
            with pytest.raises(UserError, match="cannot be read as a torch file"):
                read_weights(tmp_path / "x.pth")
    assert not (tmp_path / "owned").exists()


def test_a_crafted_dtype_is_not_trusted(tmp_path):
    """NumPy's own reader would take the bytes for addresses of objects."""

    class Crafted:
        def __reduce__(self):
            empty = np._core.multiarray._reconstruct
            return empty, (np.ndarray, (0,), b"b"), (1, (1,), np.dtype("O"), False, b"A" * 8)

    torch.save({"model": TENSORS, "a": Crafted()}, tmp_path / "x.pth")
    contents = read_weights(tmp_path / "x.pth")
    assert contents.others == ["a"]


def test_a_whole_model_and_an_archive(tmp_path):
    how = "save the tensors alone, torch.save(model.state_dict(), …), where it was made"
    path = tmp_path / "x.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(UserError) as error:
        read_weights(path)
    assert str(error.value) == (
        f"{path} cannot be read as a torch file: it holds an object of torch.nn.modules.linear.Linear, "
        f"whose code is not run; {how}"
    )
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(UserError) as error:
        read_weights(path)
    assert str(error.value) == (
        f"{path} cannot be read as a torch file: it is a TorchScript archive; {how}"
    )


@pytest.mark.parametrize(
    ("saved", "found"),
    [
        ([1, 2], " but a list"),
        (torch.ones(2), " but a Tensor"),
        ({"epoch": 3, "lr": 0.1}, "; it holds: epoch, lr"),
        ({}, "; it holds: nothing"),
    ],
)
def test_files_without_a_state_dict(saved, found, tmp_path):
    path = tmp_path / "x.pth"
    torch.save(saved, path)
    with pytest.raises(UserError) as error:
        read_weights(path)
    assert str(error.value) == (
        f"{path} holds no state dict (a dictionary of tensors by name){found}"
    )


def test_sparse_tensors_are_named(tmp_path):
    torch.save({"a.weight": torch.eye(2).to_sparse()}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="x: a.weight is a sparse, quantized or empty tensor"):
        as_arrays(read_weights(tmp_path / "x.pth").entries[""], "x")


def test_truncated_and_other_files(tmp_path):
    torch.save(TENSORS, tmp_path / "x.pth")
    whole = (tmp_path / "x.pth").read_bytes()
    for contents in (whole[: len(whole) // 2], b"no torch file", b""):
        (tmp_path / "x.pth").write_bytes(contents)
        with pytest.raises(UserError, match="x.pth cannot be read as a torch file: ") as error:
            read_weights(tmp_path / "x.pth")
        assert "\n" not in str(error.value)
