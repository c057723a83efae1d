"""A backup, the home lost, the backup restored elsewhere: the same answers, and what was forgotten stays forgotten."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows.backup import back_up, restore
from flows.forget import forget
from tasks.erasure.byte_search import Needles, search_home
from tasks.erasure.subject import Wanted
from tasks.errors import ConfigurationError, CorruptionError
from tasks.index.history import roll_back_index
from tasks.index.release import load_release, release_numbers
from tasks.index.table import connect, open_at
from tasks.params import Params
from tasks.settings import Settings
from tests.conftest import files_source

pytestmark = pytest.mark.slow

SECRET = "Ms Mbeki of the Harare office had her salary raised to 4,711 dollars in March."


@pytest.fixture
def notes(
    tmp_path: Path, home: Path, write_params: Callable[..., Params], refresh: Callable[..., dict[str, Any]]
) -> Path:
    """The folder of the documents of a home with two releases."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "mbeki.md").write_text(f"# Salaries\n\n{SECRET}\n", encoding="utf-8")
    (folder / "pager.md").write_text("# The pager\n\nThe pager is kept in the north hall.\n", encoding="utf-8")
    write_params([files_source(folder)], serving={"poll_seconds": 0.1})
    refresh()
    (folder / "ledger.md").write_text("# The ledger\n\nThe ledger is kept in the south hall.\n", encoding="utf-8")
    refresh()
    return folder


def rows(settings: Settings) -> dict[int, pa.Table]:
    """All that each release holds."""
    database = connect(settings)
    tables = {
        number: open_at(database, load_release(settings, number).lance_tag) for number in release_numbers(settings)
    }
    return {number: table.to_arrow().sort_by("chunk_id") for number, table in tables.items()}


def move_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ALMANAC_HOME", str(folder))
    return Settings()


def test_lost_home_comes_back_elsewhere(
    notes: Path,
    home: Path,
    settings: Settings,
    refresh: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    before = rows(settings)
    backup = back_up(tmp_path / "backup")
    shutil.rmtree(home)
    elsewhere = move_to(tmp_path / "elsewhere", monkeypatch)

    restored, receipt = restore(tmp_path / "backup")

    assert (restored.sums, receipt) == (backup.sums, None)
    assert {number: table.equals(before[number]) for number, table in rows(elsewhere).items()} == {1: True, 2: True}
    assert refresh()["release"] is None
    assert roll_back_index(elsewhere, 1).version == 1
    assert not home.exists()


def test_what_was_forgotten_since_is_not_restored(
    notes: Path,
    home: Path,
    refresh: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    back_up(tmp_path / "backup")
    forget.fn(Wanted(documents=("notes:mbeki.md",)))
    elsewhere = move_to(tmp_path / "elsewhere", monkeypatch)

    _, receipt = restore(tmp_path / "backup", home / "forgotten" / "tombstones.json")

    assert search_home(tmp_path / "backup", Needles((SECRET,), ()))
    assert not search_home(elsewhere.layout.root, Needles((SECRET,), ()))
    assert receipt is not None
    assert receipt.is_clean
    assert {number: table.num_rows for number, table in rows(elsewhere).items()} == {1: 1, 2: 2}
    refresh()
    assert not search_home(elsewhere.layout.root, Needles((SECRET,), ()))


def test_damaged_backup_and_used_home_are_refused(
    notes: Path, home: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    back_up(tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="empty home"):
        restore(tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="new folder"):
        back_up(tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="outside the home"):
        back_up(home / "backup")
    elsewhere = move_to(tmp_path / "elsewhere", monkeypatch)
    manifest = next((tmp_path / "backup" / "home" / "releases").iterdir())
    manifest.write_text(manifest.read_text().replace("1", "2"), encoding="utf-8")

    with pytest.raises(CorruptionError, match=r"found 1 others, the first releases/"):
        restore(tmp_path / "backup")

    assert not elsewhere.layout.root.exists()
