import json
import shutil

import pytest

from jaxcnn.errors import UserError
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.seal import FORMAT, BrokenSeal, check_seal
from tests.faults.flips import outcomes_of_flips
from tests.train.test_checkpoint import LIKE, assert_is, saved


@pytest.fixture
def sealed(tmp_path):
    """Checkpoints of steps 2 and 3."""
    saved(tmp_path / "run").close()
    return tmp_path / "run"


def test_no_flipped_bit_is_silent(small_config, blobs, tmp_path, caplog):
    """A few of those of `make test-faults`."""
    table = outcomes_of_flips(40, small_config, blobs, tmp_path, caplog)
    assert table["SILENTLY WRONG"] == 0
    assert table["the one before it"] > 0
    assert table["refused"] > 0  # of the best one, which is alone


def test_every_file_is_sealed(sealed):
    content = json.loads((sealed / "3" / "seal.json").read_text())
    files = {
        str(path.relative_to(sealed / "3")) for path in (sealed / "3").rglob("*") if path.is_file()
    }
    # Orbax adds a file that says only that it is there.
    assert files - set(content["files"]) == {"seal.json", "commit_success.txt"}
    assert content["format"] == FORMAT


@pytest.mark.parametrize("part", ["state", "notes"])
def test_what_is_wrong_is_named(sealed, part):
    check_seal(sealed / "3", part)
    file = next(path for path in (sealed / "3" / part).rglob("*") if path.is_file())
    name = str(file.relative_to(sealed / "3"))
    content = file.read_bytes()
    file.write_bytes(content + b" ")
    with pytest.raises(BrokenSeal, match=f"^{name} has changed$"):
        check_seal(sealed / "3", part)
    check_seal(sealed / "3", {"state": "notes", "notes": "state"}[part])
    with pytest.raises(BrokenSeal, match="has changed"):
        check_seal(sealed / "3")
    file.unlink()
    with pytest.raises(BrokenSeal, match=f"^{name} is missing$"):
        check_seal(sealed / "3", part)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"seal": 1}', '{"format": 2, "files": {}, "seal": "0"}']
)
def test_a_seal_that_is_no_seal(sealed, content):
    (sealed / "3" / "seal.json").write_text(content)
    with pytest.raises(BrokenSeal, match=r"seal.json has changed"):
        check_seal(sealed / "3", "notes")


def test_a_lost_seal_is_missed(sealed, caplog):
    (sealed / "3" / "seal.json").unlink()
    assert_is(Checkpoints(sealed, keep=2).restore_newest(LIKE), 2)
    assert f"checkpoint {sealed / '3'} is damaged (seal.json is missing)" in caplog.text


def test_a_checkpoint_of_an_earlier_version_has_no_seal(sealed):
    for step in (2, 3):
        (sealed / str(step) / "seal.json").unlink()
        (sealed / str(step) / "notes" / "metadata").write_text(json.dumps({"of": step}))
    assert_is(Checkpoints(sealed, keep=2).restore_newest(LIKE), 3)


def test_a_checkpoint_of_a_later_version_is_refused_and_left_alone(sealed, monkeypatch):
    monkeypatch.setattr("jaxcnn.train.seal.FORMAT", 1)
    before = sorted(sealed.rglob("*"))
    with pytest.raises(UserError, match="3 has format 2, of a later version of jaxcnn; .* up to 1"):
        Checkpoints(sealed, keep=2).restore_newest(LIKE)
    assert sorted(sealed.rglob("*")) == before


def test_a_copy_is_as_good(sealed, tmp_path):
    shutil.copytree(sealed, tmp_path / "copy")
    assert_is(Checkpoints(tmp_path / "copy", keep=2).restore_newest(LIKE), 3)


def test_all_of_a_checkpoint_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """What is synced, in order, and when the renaming comes."""
    from jaxcnn import files
    from jaxcnn.train import seal

    events, whole, rename = [], files.sync, seal.AtomicRenameTemporaryPath.finalize

    def sync(path):
        events.append(str(path))
        whole(path)

    async def renamed(self):
        events.append(f"rename {self.get_final().name}")
        await rename(self)

    for module in (files, seal):
        monkeypatch.setattr(module, "sync", sync)
    monkeypatch.setattr(seal.AtomicRenameTemporaryPath, "finalize", renamed)
    saved(tmp_path / "run", steps=(1,)).close()
    commit = events.index("rename 1")
    before = {path.split("-checkpoint-tmp/", 1)[-1] for path in events[:commit]}
    checkpoint = tmp_path / "run" / "1"
    contents = {str(path.relative_to(checkpoint)) for path in checkpoint.rglob("*")}
    assert contents - before == {"seal.json", "commit_success.txt"}
    assert any("seal.json" in path for path in before)  # under the name it has before it is whole
    assert events[commit + 1 :] == [str(tmp_path / "run")]
