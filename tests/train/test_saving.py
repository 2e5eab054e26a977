import errno

import pytest

from jaxcnn.errors import UserError
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.saving import Saving
from tests.train.test_checkpoint import LIKE, assert_is, saved, state_at

FULL = OSError(errno.ENOSPC, "No space left on device")
OF_TENSORSTORE = ValueError("RESOURCE_EXHAUSTED: Error writing local file: [os_error_code='28']")


class Refusing:
    """A manager that refuses so many times."""

    def __init__(self, errors):
        self.errors, self.saves = list(errors), []

    def save(self, step, **_):
        if self.errors:
            raise self.errors.pop(0)
        self.saves.append(step)

    def wait_until_finished(self):
        self.save("end")

    def all_steps(self):
        return [10, 20, 30]

    def reload(self):
        pass


@pytest.fixture
def directory(tmp_path):
    for name in ("10", "20", "30", "40.orbax-checkpoint-tmp", "10.damaged"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize("error", [FULL, OF_TENSORSTORE])
def test_on_a_full_disk_the_older_ones_make_room_and_one_attempt_follows(directory, caplog, error):
    manager = Refusing([error])
    Saving(directory, manager).start(40, None)
    assert manager.saves == [40]
    assert sorted(path.name for path in directory.iterdir()) == ["10.damaged", "30"]
    assert f"{directory}: the disk is full; removed step 10, 20 and try once more" in caplog.text


@pytest.mark.parametrize("error", [FULL, TimeoutError("86400 seconds")])
def test_a_save_that_fails_in_the_background_starts_again(directory, error):
    manager = Refusing([])
    saving = Saving(directory, manager)
    saving.start(40, None)
    manager.errors = [error]
    saving.wait()
    assert manager.saves == [40, 40, "end"]


def test_what_else_failed_of_a_save_is_not_the_next_one_s(directory):
    """Another thread of the save misses the directory that was removed to make room."""
    gone = FileNotFoundError(errno.ENOENT, "No such file or directory")
    manager = Refusing([])
    saving = Saving(directory, manager)
    saving.start(40, None)
    manager.errors = [FULL, gone]
    saving.wait()
    assert manager.saves == [40, 40, "end"]
    manager.errors = [FULL, gone, gone]
    with pytest.raises(UserError, match="cannot be written: No space left on device; free some"):
        saving.wait()


def test_a_save_whose_clean_up_fails_is_not_repeated(directory):
    manager = Refusing([])
    saving = Saving(directory, manager)
    saving.start(40, None)
    manager.errors, manager.all_steps = [FULL], lambda: [30, 40]
    saving.wait()
    assert manager.saves == [40, "end"]


def test_a_second_refusal_is_an_error(directory):
    with pytest.raises(
        UserError,
        match=f"^a checkpoint in {directory} cannot be written: No space left on device; free some space;",
    ):
        Saving(directory, Refusing([FULL, FULL])).start(40, None)


def test_a_clock_that_jumps_costs_no_checkpoint(directory, caplog):
    """Orbax counts its seconds by the time of day."""
    Saving(directory, Refusing([TimeoutError("86400 seconds")])).start(40, None)
    assert {path.name for path in directory.iterdir()} == {"10", "20", "30", "10.damaged"}
    assert (
        f"{directory}: a save was waited for too long, or the clock jumped; try once" in caplog.text
    )
    with pytest.raises(UserError, match="cannot be written: it takes too long; those before"):
        Saving(directory, Refusing([TimeoutError(), TimeoutError()])).start(40, None)


@pytest.mark.parametrize("name", ["EROFS", "EIO", "ESTALE"])
def test_another_refusal_is_an_error_at_once(directory, name):
    manager, before = Refusing([OSError(getattr(errno, name), "?")]), sorted(directory.iterdir())
    with pytest.raises(UserError, match="cannot be written: "):
        Saving(directory, manager).start(40, None)
    assert sorted(directory.iterdir()) == before


def test_a_bug_is_a_bug(directory):
    with pytest.raises(ZeroDivisionError):
        Saving(directory, Refusing([ZeroDivisionError()])).start(40, None)


def test_with_real_checkpoints(tmp_path, monkeypatch):
    """The seal cannot be written once: the disk is full, then there is room."""
    from jaxcnn.train import seal

    checkpoints = saved(tmp_path, steps=(1, 2))
    whole, calls = seal.seal, []

    def refused_once(directory):
        calls.append(directory)
        if len(calls) == 1:
            raise FULL
        whole(directory)

    monkeypatch.setattr(seal, "seal", refused_once)
    checkpoints.save(3, state_at(3), {"of": 3})
    checkpoints.wait()
    checkpoints.close()
    again = Checkpoints(tmp_path, keep=2)
    assert again.steps() == [2, 3]
    assert_is(again.restore_newest(LIKE), 3)
