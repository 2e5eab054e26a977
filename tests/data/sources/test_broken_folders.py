"""Folders with many broken images."""

import pytest

from jaxcnn.data.sources.folder import folder
from tests.faults.decoding import make_folder, read_often

pytestmark = pytest.mark.fast


def test_broken_images_are_read_again_and_again(tmp_path, monkeypatch):
    make_folder(tmp_path, copies=1, good=2)
    assert read_often(tmp_path, 80, monkeypatch) == 52


def test_no_eager_op_fails_in_a_thread(tmp_path, monkeypatch):
    """TensorFlow raises its exception under a lock, for which two threads may wait forever."""
    from tensorflow.python.framework import ops

    failed, fail = [], ops.raise_from_not_ok_status
    monkeypatch.setattr(
        ops, "raise_from_not_ok_status", lambda *args: failed.append(args) or fail(*args)
    )
    make_folder(tmp_path, copies=1, good=2)
    source = folder(8, root=str(tmp_path), on_error="skip")
    assert len(source.splits["train"]) == 4
    assert not failed
