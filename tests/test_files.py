"""Folders that appear whole or not at all."""

from pathlib import Path

import pytest

from tasks.errors import DependencyError
from tasks.files import sha256_of_file, whole_folder

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def write_half(folder: Path) -> None:
    with whole_folder(folder) as beside:
        (beside / "first").write_text("new")
        raise InterruptedError("killed")


def test_folder_appears_whole_in_place_of_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").touch()
    with whole_folder(tmp_path / "made") as beside:
        (beside / "part").mkdir()
        (beside / "part" / "new").touch()
        assert (tmp_path / "made" / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["part"]


def test_folder_of_a_writer_that_failed_is_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").touch()
    with pytest.raises(DependencyError, match="must be writable"):
        write_half(tmp_path / "made")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["made", "made/old"]


def test_what_a_killed_writer_left_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".made.partial").mkdir()
    (tmp_path / ".made.partial" / "left").touch()
    with whole_folder(tmp_path / "made") as beside:
        assert list(beside.iterdir()) == []


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256_of_file(tmp_path / "empty") == EMPTY_SHA256
