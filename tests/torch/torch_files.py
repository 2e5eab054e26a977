"""Reading torch's own files: `make test-torch`."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from jaxcnn.errors import UserError
from jaxcnn.transfer.state_dict import read_state_dict

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2).bfloat16()}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("entry", [None, "state_dict", "model"])
def test_state_dicts_and_checkpoints(legacy, entry, tmp_path):
    saved = TENSORS if entry is None else {entry: TENSORS, "epoch": 3}
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    tensors = read_state_dict(tmp_path / "x.pth")
    np.testing.assert_array_equal(tensors["a.weight"], [[0, 1, 2], [3, 4, 5]])
    assert tensors["a.bias"].dtype == np.float32


def test_nothing_in_a_file_is_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    for write in (torch.save, lambda value, path: Path(path).write_bytes(pickle.dumps(value))):
        write({"a.weight": Attack()}, tmp_path / "x.pth")
        with pytest.raises(UserError, match="cannot be read as a torch file"):
            read_state_dict(tmp_path / "x.pth")
    assert not (tmp_path / "owned").exists()


def test_truncated_and_other_files(tmp_path):
    torch.save(TENSORS, tmp_path / "x.pth")
    whole = (tmp_path / "x.pth").read_bytes()
    for contents in (whole[: len(whole) // 2], b"no torch file", b""):
        (tmp_path / "x.pth").write_bytes(contents)
        with pytest.raises(UserError, match="x.pth cannot be read as a torch file: ") as error:
            read_state_dict(tmp_path / "x.pth")
        assert "\n" not in str(error.value)
    torch.save([1, 2], tmp_path / "x.pth")
    with pytest.raises(UserError, match="x.pth holds no state dict"):
        read_state_dict(tmp_path / "x.pth")
