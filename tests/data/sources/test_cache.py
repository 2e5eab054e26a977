import numpy as np
import pytest

from jaxcnn.data.sources import cache as module
from jaxcnn.data.sources.cache import cached

pytestmark = pytest.mark.fast


def counting(calls):
    def compute():
        calls.append(1)
        return {"numbers": np.arange(3)}

    return compute


def test_found_out_once_while_it_depends_on_the_same(tmp_path):
    calls = []
    for depends_on in ("a", "a", ("b", 1), ("b", 1)):
        found = cached(tmp_path, "index", depends_on, counting(calls))
        np.testing.assert_array_equal(found["numbers"], np.arange(3))
    assert len(calls) == 2
    assert [p.name for p in (tmp_path / ".jaxcnn").iterdir()] == ["index.npz"]


def test_what_cannot_be_written_beside_the_data_is_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "cache_directory", lambda: tmp_path / "cache")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / ".jaxcnn").write_text("a file where the folder would be")
    calls = []
    for _ in range(2):
        cached(folder, "index", "a", counting(calls))
    assert len(calls) == 1
    assert len(list((tmp_path / "cache").glob("*/index.npz"))) == 1


def test_what_has_no_folder_is_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "cache_directory", lambda: tmp_path)
    calls = []
    for _ in range(2):
        cached(None, "index", "a", counting(calls))
    assert len(calls) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["index.npz"]


def test_a_damaged_file_is_written_again(tmp_path):
    calls = []
    cached(tmp_path, "index", "a", counting(calls))
    (tmp_path / ".jaxcnn" / "index.npz").write_bytes(b"PK\x03\x04 cut short")
    cached(tmp_path, "index", "a", counting(calls))
    assert len(calls) == 2
