"""What lies beside documents and is none: named, counted apart from the quarantine, and no reason to stop."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.conftest import files_source

Refresh = Callable[..., dict[str, Any]]
WriteParams = Callable[..., Any]


@pytest.mark.slow
def test_pictures_and_drafts_stop_nothing_and_are_named(
    tmp_path: Path, write_params: WriteParams, refresh: Refresh
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(3):
        (docs / f"page{number}.md").write_text(f"# Page {number}\n\nThe valve number {number} opens at nine bar.\n")
    for name in ("a.png", "b.jpg", "c.zip", "no-ending", "film.MP4"):
        (docs / name).write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    (docs / "draft.md").write_text("---\ndraft: true\n---\nNot yet.")
    (docs / "broken.md").write_text("---\naccess: [hr\n---\nText.")
    write_params([files_source(docs)], document_gate={"max_quarantined_fraction": 0.3})

    first, second = refresh(), refresh()

    assert [first[name] for name in ("listed", "accepted", "quarantined", "left_out", "released")] == [
        10,
        3,
        1,
        6,
        True,
    ]
    assert [second[name] for name in ("listed", "unchanged", "quarantined", "left_out")] == [10, 3, 1, 6]
    from cli import app

    listed = json.loads(CliRunner().invoke(app, ["quarantine", "list", "--json"]).stdout)
    assert [item["key"] for item in listed["items"]] == ["broken.md"]
    assert {item["key"]: item["rule"] for item in listed["left_out"]}["draft.md"] == "draft"
    assert {item["rule"] for item in listed["left_out"]} == {"draft", "unsupported"}

    (docs / "draft.md").write_text("---\ndraft: false\n---\n# Now\n\nThe draft is a page of its own now.")
    third = refresh()
    assert [third[name] for name in ("accepted", "quarantined", "left_out")] == [1, 1, 5]
