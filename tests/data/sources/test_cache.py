import numpy as np
import pytest

from jaxcnn.data.sources import cache as module
from jaxcnn.data.sources.cache import cached

pytestmark = pytest.mark.fast


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "cache_directory", lambda: tmp_path)
    return tmp_path / "data"


def counting(calls):
    def compute():
        calls.append(1)
        return {"numbers": np.arange(3)}

    return compute


def test_found_out_once_for_all_that_it_depends_on(cache):
    calls = []
    for depends_on in ("a", "a", ("b", 1), ("b", 1), "a"):
        found = cached("index", depends_on, counting(calls))
        assert list(found) == ["numbers"]
        np.testing.assert_array_equal(found["numbers"], np.arange(3))
    assert len(calls) == 2
    assert len(list(cache.glob("index-*.npz"))) == len(list(cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(cache):
    cache.write_text("a file where the folder would be")
    calls = []
    for _ in range(2):
        assert cached("index", "a", counting(calls))["numbers"].tolist() == [0, 1, 2]
    assert len(calls) == 2


def test_what_is_no_longer_valid_is_found_out_again(cache):
    calls = []
    for _ in range(2):
        cached("index", "a", counting(calls), is_valid=lambda arrays: False)
    assert len(calls) == 2


def test_a_damaged_file_is_written_again(cache):
    calls = []
    cached("index", "a", counting(calls))
    (path,) = cache.iterdir()
    path.write_bytes(b"PK\x03\x04 cut short")
    for _ in range(2):
        cached("index", "a", counting(calls))
    assert len(calls) == 2
