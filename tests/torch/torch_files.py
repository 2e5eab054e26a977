"""Reading torch's own files: `make test-torch`."""

import argparse
import collections
import datetime
import os
import pathlib
import pickle
import zipfile
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


OF_NO_NUMBERS = "is a sparse, quantized or empty tensor; save it dense"


@pytest.mark.filterwarnings("ignore")  # torch's, of what it will drop
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.eye(2).to_sparse(), OF_NO_NUMBERS),
        (lambda: torch.eye(2).to_sparse_csr(), OF_NO_NUMBERS),
        (lambda: torch.quantize_per_tensor(torch.eye(2), 0.1, 0, torch.qint8), OF_NO_NUMBERS),
        (lambda: torch.empty(10**6, 10**6, device="meta"), OF_NO_NUMBERS),
        (
            lambda: torch.ones(1).expand(10**6, 10**6),
            "has 1,000,000,000,000 numbers, of which 4 bytes are stored; save it with .contiguous()",
        ),
        (
            lambda: torch.ones(1).half().expand(10**6, 10**6),
            "has 1,000,000,000,000 numbers, of which 2 bytes are stored; save it with .contiguous()",
        ),
        (lambda: torch.ones(9).as_strided((8, 8), (1, 0)), "has 64 numbers, of which 36 bytes are"),
        (lambda: torch.ones(2, dtype=torch.complex64).conj(), "is of complex64; weights are real"),
        (
            lambda: torch.ones(1, dtype=torch.complex64).conj().expand(10**6, 10**6),
            "has 1,000,000,000,000 numbers, of which 8 bytes are stored",
        ),
    ],
)
def test_tensors_that_are_not_read_are_named(tmp_path, make, message):
    torch.save({"a.weight": make()}, tmp_path / "x.pth")
    with pytest.raises(UserError) as error:
        as_arrays(read_weights(tmp_path / "x.pth").entries[""], "x")
    assert str(error.value).startswith(f"x: a.weight {message}")
    assert "\n" not in str(error.value)


def test_views_of_a_whole_storage_are_read(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    views = {"a": whole.T, "b": whole[1:, ::2], "c": whole, "d": torch.zeros(0, 5)}
    torch.save(views, tmp_path / "x.pth")
    tensors = as_arrays(read_weights(tmp_path / "x.pth").entries[""], "x")
    for name, view in views.items():
        np.testing.assert_array_equal(tensors[name], view.numpy())


def test_an_archive_that_unpacks_to_more_than_its_size(tmp_path):
    torch.save({"a.weight": torch.zeros(10**6)}, tmp_path / "x.pth")
    with (
        zipfile.ZipFile(tmp_path / "x.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    with pytest.raises(UserError, match=r"it is compressed, and unpacks to 4,\d+,\d+ bytes"):
        read_weights(tmp_path / "bomb.pth")


def test_storages_that_the_file_has_not(tmp_path):
    """Both formats; the count in the pickle is raised from 4,096 to 2**31 - 1."""
    for legacy in (False, True):
        path = tmp_path / "x.pth"
        torch.save({"a.weight": torch.zeros(4096)}, path, _use_new_zipfile_serialization=not legacy)
        count, larger = (
            b"M" + (4096).to_bytes(2, "little"),
            b"J" + (2**31 - 1).to_bytes(4, "little"),
        )
        if legacy:
            assert count in path.read_bytes()
            path.write_bytes(path.read_bytes().replace(count, larger))
        else:
            with zipfile.ZipFile(path) as file:
                records = {name: file.read(name) for name in file.namelist()}
            with zipfile.ZipFile(path, "w") as file:
                for name, content in records.items():
                    file.writestr(name, content.replace(count, larger))
        with pytest.raises(UserError, match="x.pth cannot be read as a torch file: it is damaged"):
            read_weights(path)


def test_dictionaries_without_an_end(tmp_path):
    saved = {"a.weight": torch.ones(2)}
    saved["model"] = saved
    doubling = {"a.weight": torch.ones(2)}
    for _ in range(60):
        doubling = {"a": doubling, "b": doubling}
    for hostile in (saved, doubling):
        torch.save(hostile, tmp_path / "x.pth")
        with pytest.raises(UserError, match=r"x.pth cannot be .* contain themselves or are nested"):
            read_weights(tmp_path / "x.pth")


def test_truncated_and_other_files(tmp_path):
    torch.save(TENSORS, tmp_path / "x.pth")
    whole = (tmp_path / "x.pth").read_bytes()
    for contents in (whole[: len(whole) // 2], b"no torch file", b""):
        (tmp_path / "x.pth").write_bytes(contents)
        with pytest.raises(UserError, match="x.pth cannot be read as a torch file: ") as error:
            read_weights(tmp_path / "x.pth")
        assert "\n" not in str(error.value)


def test_a_damaged_directory_of_an_archive_is_refused_in_a_line(tmp_path):
    """Python's reader of archives raises errors of many types for it, before torch reads anything."""
    path = tmp_path / "x.pth"
    torch.save({"a.weight": torch.ones(2)}, path)
    whole = path.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    for at, byte in ((6, 255), (46, 255), (0, 0)):  # the version, a name, the signature
        content = bytearray(whole)
        content[directory + at] = byte
        content[directory + 9] |= 8  # names are UTF-8
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as a torch file") as error:
            read_weights(path)
        assert "\n" not in str(error.value)
