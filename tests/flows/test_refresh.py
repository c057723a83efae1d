"""The weekly refresh end to end, on a handful of documents with the real MiniLM, LanceDB, MLflow, DVC and GX."""

import datetime as dt
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.corpus import plan, quarantine, selection
from tasks.corpus.sources.files import LocalFilesReader
from tasks.errors import BusyError, ConfigurationError, DependencyError, GateError
from tasks.index.live import LiveIndex, serving
from tasks.index.search import Request, hybrid
from tasks.index.table import connect, open_at
from tasks.params import Params
from tasks.settings import Settings
from tests.conftest import files_source

pytestmark = pytest.mark.slow

NOTES = {
    "deploy.md": "# Deploying\n\nRun the blue-green script `swap.sh` to move traffic to the new cluster.\n",
    "backup.md": "# Backups\n\nSnapshots of the ledger are kept for ninety days in cold storage.\n",
    "oncall.md": "# On call\n\nThe pager rotates every Tuesday at noon among the platform engineers.\n",
}


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name, text in NOTES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


Refresh = Callable[..., dict[str, Any]]
WriteParams = Callable[..., Params]


def rows(settings: Settings) -> list[dict[str, Any]]:
    """All rows of the release that serves."""
    found = open_at(connect(settings), serving(settings).release.lance_tag).to_arrow().to_pylist()
    return sorted(found, key=lambda row: str(row["chunk_id"]))


def titles(params: Params, settings: Settings, question: str) -> list[str]:
    return [passage.title for passage in LiveIndex(params, settings).search(Request(question))]


def test_past_release_is_searched_by_its_number_and_the_access_of_today(
    notes: Path, write_params: WriteParams, refresh: Refresh, settings: Settings
) -> None:
    params = write_params([files_source(notes)])
    refresh()
    (notes / "deploy.md").write_text("# Deploying\n\nRun the script `roll.sh` instead.\n", encoding="utf-8")
    restricted = "---\naccess: [finance]\n---\n" + NOTES["backup.md"]
    (notes / "backup.md").write_text(restricted, encoding="utf-8")
    refresh()
    index = LiveIndex(params, settings)
    assert "swap.sh" in index.search(Request("blue-green script", as_of=1))[0].text
    assert "Backups" not in [passage.title for passage in index.search(Request("ledger snapshots", as_of=1))]
    assert index.search(Request("ledger snapshots", groups=["finance"], as_of=1))[0].title == "Backups"
    with pytest.raises(ConfigurationError, match="as_of must be the number of a release that is kept, found 9"):
        index.search(Request("ledger", as_of=9))


def test_refresh_releases_what_search_then_finds(
    notes: Path, write_params: WriteParams, refresh: Refresh, settings: Settings
) -> None:
    params = write_params([files_source(notes)])

    result = refresh()

    assert result["release"] == 1
    assert result["accepted"] == result["listed"] == 3
    assert titles(params, settings, "how long are snapshots kept?")[0] == "Backups"


def test_second_refresh_embeds_nothing_and_releases_nothing(
    notes: Path, write_params: WriteParams, refresh: Refresh
) -> None:
    write_params([files_source(notes)])
    refresh()

    again = refresh()

    assert again["release"] is None
    assert again["embedded"] == 0
    assert (again["unchanged"], again["changed"]) == (3, 0)


def test_removed_document_leaves_the_index(
    notes: Path, write_params: WriteParams, refresh: Refresh, settings: Settings
) -> None:
    params = write_params([files_source(notes)])
    refresh()
    (notes / "backup.md").unlink()

    result = refresh()

    assert result["removed"] == 1
    assert "Backups" not in titles(params, settings, "how long are snapshots kept?")


def test_emptied_folder_is_refused_until_a_person_lets_it_through(
    notes: Path, write_params: WriteParams, refresh: Refresh, settings: Settings
) -> None:
    params = write_params([files_source(notes)])
    refresh()
    before = rows(settings)
    for path in notes.iterdir():
        path.unlink()

    with pytest.raises(GateError, match="--allow-removal notes"):
        refresh()

    assert rows(settings) == before
    result = refresh(allow_removal=("notes",))
    assert (result["removed"], result["documents"], result["chunks"]) == (3, 0, 0)
    assert titles(params, settings, "how long are snapshots kept?") == []
    (notes / "backup.md").write_text(NOTES["backup.md"])
    assert refresh()["embedded"] == 0
    assert titles(params, settings, "how long are snapshots kept?") == ["Backups"]


def test_missing_folder_changes_nothing(
    notes: Path, write_params: WriteParams, refresh: Refresh, settings: Settings
) -> None:
    write_params([files_source(notes)])
    refresh()
    before = rows(settings)
    notes.rename(notes.with_name("elsewhere"))

    with pytest.raises(DependencyError):
        refresh()

    assert rows(settings) == before


def test_source_that_left_the_parameters_is_removed_only_by_name(
    notes: Path, tmp_path: Path, write_params: WriteParams, refresh: Refresh, settings: Settings
) -> None:
    (tmp_path / "wiki").mkdir()
    (tmp_path / "wiki" / "page.md").write_text("# Wiki page\n\nLost badges are reported to the gate house.\n")
    wiki = files_source(tmp_path / "wiki", name="wiki")
    write_params([files_source(notes), wiki])
    refresh()
    params = write_params([files_source(notes)])

    with pytest.raises(GateError, match="source wiki must stay"):
        refresh()

    assert "Wiki page" in titles(params, settings, "where are lost badges reported?")
    result = refresh(allow_removal=("wiki",))
    assert (result["removed"], result["documents"]) == (1, 3)
    assert "Wiki page" not in titles(params, settings, "where are lost badges reported?")


def test_moved_document_keeps_its_vectors_and_gets_its_new_address(
    notes: Path, write_params: WriteParams, refresh: Refresh, settings: Settings
) -> None:
    params = write_params([files_source(notes)])
    refresh()
    (notes / "archive").mkdir()
    (notes / "backup.md").rename(notes / "archive" / "backup.md")

    result = refresh()

    assert (result["moved"], result["embedded"], result["chunks"]) == (1, 0, 3)
    passage = LiveIndex(params, settings).search(Request("how long are snapshots kept?"))[0]
    assert passage.document_id == "notes:archive/backup.md"
    assert passage.uri == (notes / "archive" / "backup.md").as_uri()


def set_clocks_ahead(monkeypatch: pytest.MonkeyPatch, by: dt.timedelta) -> None:
    """Let search and the next refresh see a later time: how long this machine took until now decides nothing."""

    class Ahead(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Ahead":
            return super().now(tz) + by

    ahead = SimpleNamespace(**(vars(dt) | {"datetime": Ahead}))
    for module in (plan, selection, hybrid):
        monkeypatch.setattr(module, "dt", ahead)


def test_expired_document_is_found_no_more_and_leaves_at_the_next_refresh(
    notes: Path, write_params: WriteParams, refresh: Refresh, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = write_params([files_source(notes)])
    over = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    (notes / "sale.md").write_text(f"---\nexpires_at: {over.isoformat()}\n---\n# Sale\n\nAll ledgers cost half.\n")
    refresh()
    index = LiveIndex(params, settings)
    assert index.search(Request("ledgers cost half"))[0].title == "Sale"
    set_clocks_ahead(monkeypatch, dt.timedelta(hours=1))

    assert "Sale" not in [passage.title for passage in index.search(Request("ledgers cost half"))]
    result = refresh()

    assert (result["expired"], result["documents"]) == (1, 3)
    assert "notes:sale.md" not in {row["document_id"] for row in rows(settings)}
    assert refresh()["release"] is None


def test_touched_file_releases_nothing(notes: Path, write_params: WriteParams, refresh: Refresh) -> None:
    write_params([files_source(notes)])
    refresh()
    os.utime(notes / "backup.md", (1_700_000_000, 1_700_000_000))

    result = refresh()

    assert (result["release"], result["embedded"], result["unchanged"]) == (None, 0, 3)


def test_changed_access_embeds_nothing_and_holds(
    notes: Path, write_params: WriteParams, refresh: Refresh, settings: Settings
) -> None:
    params = write_params([files_source(notes)])
    refresh()
    (notes / "backup.md").write_text("---\naccess: [finance]\n---\n" + NOTES["backup.md"])

    result = refresh()

    assert (result["changed"], result["embedded"]) == (1, 0)
    index = LiveIndex(params, settings)
    assert "Backups" not in [passage.title for passage in index.search(Request("ledger snapshots"))]
    assert index.search(Request("ledger snapshots", groups=["finance"]))[0].title == "Backups"


def test_edited_document_embeds_only_its_changed_chunks(
    notes: Path, write_params: WriteParams, refresh: Refresh, settings: Settings
) -> None:
    write_params([files_source(notes)])
    parts = [f"## Part {number}\n\n" + f"step {number} of the audit is signed. " * 7 for number in range(6)]
    (notes / "audit.md").write_text("# Audit\n\n" + "\n\n".join(parts))
    refresh()
    before = {row["chunk_id"]: row["vector"] for row in rows(settings)}
    parts[2] = "## Part 2\n\n" + "this step was dropped by the board. " * 7
    (notes / "audit.md").write_text("# Audit\n\n" + "\n\n".join(parts))

    result = refresh()

    after = {row["chunk_id"]: row["vector"] for row in rows(settings)}
    assert (result["changed"], result["embedded"]) == (1, len(after.keys() - before.keys()))
    assert 1 <= result["embedded"] <= 2
    assert all(after[key] == before[key] for key in after.keys() & before.keys())


def test_changed_chunking_rebuilds_from_the_snapshot_without_reading_a_source(
    notes: Path, write_params: WriteParams, refresh: Refresh, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (notes / "audit.md").write_text("# Audit\n\n" + "each step of the audit is signed by its owner. " * 20)
    write_params([files_source(notes)])
    assert refresh()["embedded"] > 3
    before = {row["text_key"] for row in rows(settings)}
    params = write_params([files_source(notes)], chunking={"max_tokens": 96})
    monkeypatch.delattr(LocalFilesReader, "fetch")
    monkeypatch.delattr(LocalFilesReader, "raw_hash")

    result = refresh()

    after = {row["text_key"] for row in rows(settings)}
    assert (result["release"], result["listed"], result["unchanged"]) == (2, 4, 4)
    assert result["embedded"] == len(after - before) < len(after)
    assert {row["document_id"] for row in rows(settings)} == {f"notes:{name}" for name in [*NOTES, "audit.md"]}
    assert titles(params, settings, "how long are snapshots kept?")[0] == "Backups"


def test_quarantined_version_leaves_the_former_one_until_a_person_releases_it(
    notes: Path, write_params: WriteParams, refresh: Refresh, settings: Settings
) -> None:
    short = {
        "expect": "expect_column_values_to_be_between",
        "column": "num_characters",
        "min_value": 40,
        "on_fail": "quarantine",
    }
    params = write_params([files_source(notes)], document_gate={"rules": [short]})
    refresh()
    (notes / "backup.md").write_text("# Backups\n\nTwo years.\n")

    result = refresh()

    assert (result["quarantined"], result["release"]) == (1, None)
    index = LiveIndex(params, settings)
    assert "ninety days" in index.search(Request("how long are backups kept?"))[0].text
    assert refresh()["quarantined"] == 1

    (item,) = quarantine.held(settings.home)
    quarantine.release(settings.home, item.id)
    released = refresh()

    assert (released["accepted"], released["quarantined"]) == (1, 0)
    assert "Two years" in LiveIndex(params, settings).search(Request("how long are backups kept?"))[0].text


def test_unreadable_access_hides_the_former_version_at_once(
    notes: Path, write_params: WriteParams, refresh: Refresh, settings: Settings
) -> None:
    params = write_params([files_source(notes)])
    refresh()
    (notes / "backup.md").write_text("---\naccess: {finance: yes\n---\n" + NOTES["backup.md"])

    result = refresh()

    assert result["quarantined"] == 1
    assert "Backups" not in titles(params, settings, "how long are snapshots kept?")
    (notes / "backup.md").write_text(NOTES["backup.md"])
    refresh()
    assert titles(params, settings, "how long are snapshots kept?")[0] == "Backups"


HOLDER = """
import sys, time
from pathlib import Path
from tasks.lease import hold
with hold(Path(sys.argv[1]), purpose="refresh"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_second_refresh_leaves_at_once_and_names_the_first_which_a_kill_frees(
    notes: Path, write_params: WriteParams, refresh: Refresh, home: Path
) -> None:
    write_params([files_source(notes)])
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", HOLDER, str(home)]
    with subprocess.Popen(
        command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, stdout=subprocess.PIPE
    ) as held:
        assert held.stdout
        assert held.stdout.readline() == b"held\n"
        started = time.monotonic()
        with pytest.raises(BusyError, match=f"refresh of process {held.pid}"):
            refresh()
        assert time.monotonic() - started < 30
        held.kill()

    assert refresh()["release"] == 1
