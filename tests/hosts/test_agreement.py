"""One process agrees with itself; several do in tests/processes."""

import pytest

from jaxcnn import hosts

pytestmark = pytest.mark.fast


def test_one_process_decides_by_itself(tmp_path):
    assert (hosts.count(), hosts.primary()) == (1, True)
    assert hosts.from_primary(lambda: {"answer": 42}) == {"answer": 42}
    assert hosts.each("mine") == ["mine"]
    assert hosts.any_of(True)
    assert not hosts.any_of(False)
    hosts.barrier("here")
    hosts.check_equal("the config", "a")
    hosts.check_shared("workdir", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_one_process_stops_at_once():
    vote = hosts.Vote()
    assert not vote.cast(False)
    assert vote.cast(True)


def test_an_error_of_one_process_stays_as_it_is():
    with pytest.raises(ZeroDivisionError), hosts.together(stuck_after=1.0):
        raise ZeroDivisionError
