"""The weekly refresh end to end, on a handful of documents with the real MiniLM, LanceDB, MLflow, DVC and GX."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.index.live import LiveIndex
from tasks.index.search import Request
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


def titles(params: Params, settings: Settings, question: str) -> list[str]:
    return [passage.title for passage in LiveIndex(params, settings).search(Request(question))]


def test_refresh_releases_what_search_then_finds(
    notes: Path, write_params: Callable[..., Params], refresh: Callable[..., dict[str, Any]], settings: Settings
) -> None:
    params = write_params([files_source(notes)])

    result = refresh()

    assert result["release"] == 1
    assert result["accepted"] == result["listed"] == 3
    assert titles(params, settings, "how long are snapshots kept?")[0] == "Backups"


def test_second_refresh_embeds_nothing_and_releases_nothing(
    notes: Path, write_params: Callable[..., Params], refresh: Callable[..., dict[str, Any]]
) -> None:
    write_params([files_source(notes)])
    refresh()

    again = refresh()

    assert again["release"] is None
    assert again["embedded"] == 0
    assert again["unchanged"] == 3


def test_removed_document_leaves_the_index(
    notes: Path, write_params: Callable[..., Params], refresh: Callable[..., dict[str, Any]], settings: Settings
) -> None:
    params = write_params([files_source(notes)])
    refresh()
    (notes / "backup.md").unlink()

    result = refresh()

    assert result["removed"] == 1
    assert "Backups" not in titles(params, settings, "how long are snapshots kept?")
