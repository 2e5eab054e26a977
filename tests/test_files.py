import errno
import os
from pathlib import Path

import pytest

from jaxcnn.errors import UserError
from jaxcnn.files import replacing, storage_problem, usable_path, write_bytes, write_text

pytestmark = pytest.mark.fast


def fail_half_way(partial: Path) -> None:
    """Writes a part, into a directory where there is one, and fails."""
    (partial / "first" if partial.is_dir() else partial).write_text("1")
    raise OSError("the disk is full")


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="the disk is full"), replacing(path) as partial:
        fail_half_way(partial)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_directory_that_fails_half_way_leaves_nothing(tmp_path):
    def write():
        with replacing(tmp_path / "new") as partial:
            partial.mkdir()
            fail_half_way(partial)

    with pytest.raises(OSError, match="the disk is full"):
        write()
    assert os.listdir(tmp_path) == []


def test_a_directory_appears_whole(tmp_path):
    path = tmp_path / "new"
    with replacing(path) as partial:
        partial.mkdir()
        (partial / "first").write_text("1")
        assert not path.exists()
    assert (path / "first").read_text() == "1"
    assert os.listdir(tmp_path) == ["new"]


def test_two_processes_write_the_same_file_under_different_names(tmp_path, monkeypatch):
    with replacing(tmp_path / "a") as ours:
        monkeypatch.setattr(os, "getpid", lambda: 1)
        with replacing(tmp_path / "a") as theirs:
            assert theirs != ours
            theirs.write_text("theirs")
        ours.write_text("ours")
    assert (tmp_path / "a").read_text() == "ours"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("flag", ["workdir", "--to"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "='' is empty; it takes a path"),
        ("gs://bucket/x", "='gs://bucket/x' must be a path of the file system; a URL is not read"),
        ("~nobody-by-this-name/x", "~nobody-by-this-name is no home directory"),
        ("x" * 300, "…: File name too long"),
    ],
)
def test_paths_that_are_none(flag, text, message):
    with pytest.raises(UserError) as error:
        usable_path(flag, text)
    assert str(error.value).startswith(f"{flag}=")
    assert message in str(error.value)


def test_home_and_odd_names(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert usable_path("--to", "~/x") == tmp_path / "x"
    for name in ("a b", "a\\b", "[x]*?", "gs:", "x\ny", "-x"):
        assert usable_path("--to", name) == Path(name)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ("No space left on device", True)),
        (OSError(errno.EDQUOT, "?"), ("Disk quota exceeded", True)),
        (OSError(errno.EROFS, "?"), ("Read-only file system", False)),
        (ValueError("UNKNOWN: Error writing: [os_error_code='5']"), ("Input/output error", False)),
        (
            ValueError("RESOURCE_EXHAUSTED: … [os_error_code='28']"),
            ("No space left on device", True),
        ),
        (RuntimeError("x: No space left on device"), ("No space left on device", True)),
        (FileNotFoundError(errno.ENOENT, "?"), None),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), None),
        (ZeroDivisionError(), None),
    ],
)
def test_what_a_storage_refuses(error, problem):
    assert storage_problem(error) == problem
