import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxcnn.errors import UserError
from jaxcnn.layout import Layout
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.state import TrainState


def state_at(step):
    return TrainState(
        step=jnp.int32(step),
        params={"head": {"kernel": jnp.full((40, 30), float(step))}},
        batch_stats={},
        opt_state=(),
        rng=jax.random.key(step),
    )


LIKE = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=Layout.over_all_devices().replicated
    ),
    state_at(0),
)


def saved(directory, steps=(1, 2, 3), keep=2):
    checkpoints = Checkpoints(directory, keep)
    for step in steps:
        checkpoints.save(step, state_at(step), {"of": step})
    checkpoints.wait()
    return checkpoints


def assert_is(restored, step):
    state, notes = restored
    assert notes == {"of": step}
    assert state.step == step
    np.testing.assert_array_equal(state.params["head"]["kernel"], float(step))
    np.testing.assert_array_equal(jax.random.key_data(state.rng), [0, step])


def test_the_newest_are_kept_and_come_back(tmp_path):
    saved(tmp_path).close()
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.steps() == [2, 3]
    assert checkpoints.notes(2) == {"of": 2}
    assert int(checkpoints.restore(2, LIKE).step) == 2
    assert_is(checkpoints.restore_newest(LIKE), 3)


def test_nothing_saved_is_none(tmp_path):
    assert Checkpoints(tmp_path / "new", keep=2).restore_newest(LIKE) is None


def files_of(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of Orbax's tasks
def test_whichever_file_is_truncated_the_state_is_whole_or_the_one_before(tmp_path, caplog):
    saved(tmp_path / "original").close()
    files = files_of(tmp_path / "original" / "3")
    fallbacks = 0
    for i, file in enumerate(files):
        copy = tmp_path / str(i)
        shutil.copytree(tmp_path / "original", copy)  # saved anew, it might be in other files
        counterpart = files_of(copy / "3")[i]
        counterpart.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        caplog.clear()
        checkpoints = Checkpoints(copy, keep=2)
        restored = checkpoints.restore_newest(LIKE)
        if restored[1]["of"] == 3:
            assert_is(restored, 3)
            continue
        fallbacks += 1
        assert_is(restored, 2)
        assert f"checkpoint {copy / '3'} is damaged" in caplog.text
        assert "going back to the one before it" in caplog.text
        assert (copy / "3.damaged").is_dir()
        checkpoints.save(3, state_at(3), {"of": 3})  # the run comes by this step again
        checkpoints.wait()
        assert_is(Checkpoints(copy, keep=2).restore_newest(LIKE), 3)
    assert fallbacks >= 3


def test_notes_that_are_not_acceptable_stop_it(tmp_path):
    checkpoints = saved(tmp_path)

    def check(notes):
        raise UserError(f"not {notes['of']}")

    with pytest.raises(UserError, match="not 3"):
        checkpoints.restore_newest(LIKE, check)
    assert checkpoints.steps() == [2, 3]


def test_all_damaged(tmp_path):
    saved(tmp_path).close()
    for step in (2, 3):
        (tmp_path / str(step) / "state" / "_METADATA").write_text("{")
    with pytest.raises(
        UserError, match=r"all checkpoints are damaged \(steps 2, 3\); overwrite=True"
    ):
        Checkpoints(tmp_path, keep=2).restore_newest(LIKE)


def test_what_was_half_written_is_not_a_checkpoint(tmp_path):
    saved(tmp_path).close()
    (tmp_path / "3").rename(tmp_path / "3.orbax-checkpoint-tmp")
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.steps() == [2]
    assert_is(checkpoints.restore_newest(LIKE), 2)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (TimeoutError("no answer"), "no answer"),
        (ValueError("PERMISSION_DENIED: while reading a chunk"), "permission denied"),
    ],
)
def test_what_is_out_of_reach_is_not_called_damaged(tmp_path, monkeypatch, error, reason):
    checkpoints = saved(tmp_path)

    def restore(*_, **__):
        raise error

    monkeypatch.setattr(ocp.StandardCheckpointHandler, "restore", restore)
    with pytest.raises(UserError, match=f"3 cannot be read: {reason}; nothing was changed"):
        checkpoints.restore_newest(LIKE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_another_structure_is_said_and_left_as_it_is(tmp_path):
    checkpoints = saved(tmp_path)
    narrower = jax.ShapeDtypeStruct((40, 20), np.float32)
    other = LIKE.replace(params={"head": {"kernel": narrower}})
    with pytest.raises(
        UserError, match=r"params/head/kernel is \(40, 30\) there and \(40, 20\) here"
    ):
        checkpoints.restore_newest(other)
    with pytest.raises(UserError, match="it lacks params/head/bias"):
        checkpoints.restore_newest(LIKE.replace(params={"head": {"bias": narrower}}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_some_fields_alone_are_restored(tmp_path):
    checkpoints = saved(tmp_path)
    parts = checkpoints.restore_parts(3, {"params": LIKE.params})
    assert set(parts) == {"params"}
    np.testing.assert_array_equal(parts["params"]["head"]["kernel"], 3.0)


@pytest.mark.parametrize(
    "name", ["a b", "a\\b", "[x]*?", "gs:/b", "s3:", "q\"'", "ü", "a\nb", "50%"]
)
def test_any_path_that_the_file_system_takes(tmp_path, name):
    saved(tmp_path / name / "latest").close()
    assert {entry.name for entry in (tmp_path / name / "latest").iterdir()} == {"2", "3"}
    assert_is(Checkpoints(tmp_path / name / "latest", keep=2).restore_newest(LIKE), 3)
