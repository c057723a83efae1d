"""`almanac show`: what is known of one document, for the person who asks why it is not found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import app
from tasks.answer.assistant import Assistant
from tasks.answer.inspection.document import ShownDocument, show_document
from tasks.answer.inspection.find import Name, find_document
from tasks.answer.trace import flush_traces
from tasks.errors import ConfigurationError
from tasks.params import Params
from tasks.settings import Settings
from tests.conftest import files_source
from tests.server import ZEPHYR, make_home, record

NAMES = {
    name.document_id: name
    for name in (
        Name("wiki:guides/locks.md", "Locks", "https://wiki.example/locks"),
        Name("wiki:guides/queues.md", "Queues", "https://wiki.example/queues"),
        Name("hr:locks.md", "Lockers", "https://hr.example/lockers"),
    )
}


@pytest.mark.parametrize(
    ("wanted", "document_id"),
    [
        ("wiki:guides/locks.md", "wiki:guides/locks.md"),
        ("guides/queues.md", "wiki:guides/queues.md"),
        ("https://hr.example/lockers", "hr:locks.md"),
        ("LOCKERS", "hr:locks.md"),
        ("locks.md", "hr:locks.md"),
    ],
)
def test_a_document_is_found_by_id_path_address_or_a_part(wanted: str, document_id: str) -> None:
    assert find_document(wanted, NAMES).document_id == document_id


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("guides", "found 2 with 'guides': wiki:guides/locks.md"),
        ("guides/lokcs.md", "did you mean wiki:guides/locks.md"),
    ],
)
def test_what_is_not_found_is_told_with_what_comes_near(wanted: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        find_document(wanted, NAMES)


@pytest.mark.slow
def test_all_that_is_known_of_a_document_is_shown(
    tmp_path: Path,
    write_params: Callable[..., Params],
    refresh: Callable[..., dict[str, Any]],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "locks.md").write_text("---\naccess: [crew]\n---\n# Locks\n\nA lock ends after sixty seconds.\n")
    (folder / "empty.html").write_text("<!-- nothing -->")
    (folder / "queue.md").write_text("# Queues\n\nA queue keeps jobs in order.\n")
    params = write_params([files_source(folder)])
    refresh()
    (folder / "locks.md").write_text("---\naccess: [ops]\n---\n# Locks\n\nA lock ends after ninety seconds.\n")
    (folder / "queue.md").unlink()
    refresh(allow_removal=("notes",))

    def shown(wanted: str, *, with_original: bool = False) -> ShownDocument:
        return show_document(wanted, params, settings, with_original=with_original)

    locks = shown("locks", with_original=True)
    assert (locks.state, locks.title, locks.readers) == ("live", "Locks", ("ops",))
    assert locks.text.endswith("A lock ends after ninety seconds.")
    assert "".join(chunk.text for chunk in locks.chunks).endswith("ninety seconds.")
    assert locks.original is not None
    assert locks.original.startswith("---\naccess: [ops]")
    assert [(event.release, event.what) for event in locks.history] == [(1, "added"), (2, "changed")]
    empty = shown("empty.html")
    assert (empty.state, empty.readers, empty.chunks) == ("quarantined", (), ())
    assert str(empty.reason).startswith("empty: ")
    with pytest.raises(ConfigurationError, match="found none with 'queue'"):
        shown("queue")
    monkeypatch.setenv("ALMANAC_HOME", str(settings.home))
    monkeypatch.setenv("ALMANAC_PARAMS", str(settings.params))
    printed = CliRunner().invoke(app, ["show", "locks"]).output
    assert "readers   ops" in printed
    assert json.loads(CliRunner().invoke(app, ["show", "locks", "--json"]).output)["document_id"] == "notes:locks.md"


@pytest.mark.slow
def test_the_answers_that_cited_a_document_are_named(tmp_path: Path, migrated_mlflow: Path) -> None:
    home = make_home(tmp_path, migrated_mlflow, [record("zephyr", ZEPHYR, "everyone"), record("o'hare", "# Gates\n")])
    question = "Which Python does Zephyr need?"
    reply = Assistant(home.params, home.settings).ask(question)
    flush_traces()

    (answer,) = show_document("zephyr", home.params, home.settings, with_original=False).cited_by

    assert (answer.question, answer.trace_id, answer.cited) == (question, reply.trace_id, True)
    assert show_document("o'hare", home.params, home.settings, with_original=False).readers == ()
