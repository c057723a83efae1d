"""The quarantine store on a real disk."""

import os
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.corpus import quarantine
from tasks.corpus.document import Item, make_document, to_table
from tasks.corpus.gate.document_gate import HELD_SCHEMA
from tasks.corpus.quarantine import Entry
from tasks.errors import ConfigurationError, CorruptionError

MONDAY = datetime(2026, 11, 16, 3, tzinfo=UTC)
NEXT_MONDAY = datetime(2026, 11, 23, 3, tzinfo=UTC)
ENTRY = Entry("notes", "a.md", "raw-1", "notes/a.md", "gate", "expect_x", "num_words is 1", "A", "canary text")


def ledger(home: Path) -> Path:
    return home / "quarantine" / "ledger.sqlite"


def test_recorded_item_is_listed_without_its_text_and_shown_with_it(tmp_path: Path) -> None:
    assert quarantine.record(tmp_path, [ENTRY], fingerprint="f1") == 1
    (item,) = quarantine.held(tmp_path)
    assert (item.id, item.document_id, item.status, item.text) == (ENTRY.id, "notes:a.md", "held", "")
    assert quarantine.show(tmp_path, item.id).text == "canary text"


def test_same_content_again_only_moves_when_it_was_last_seen(tmp_path: Path) -> None:
    quarantine.record(tmp_path, [ENTRY], fingerprint="f1", now=MONDAY)
    quarantine.record(tmp_path, [ENTRY], fingerprint="f1", now=NEXT_MONDAY)
    (item,) = quarantine.held(tmp_path)
    assert (item.first_seen, item.last_seen) == (MONDAY.isoformat(), NEXT_MONDAY.isoformat())


def test_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    quarantine.record(tmp_path, [ENTRY], fingerprint="f1", now=MONDAY)
    quarantine.record(tmp_path, [replace(ENTRY, raw_hash="raw-2")], fingerprint="f1", now=NEXT_MONDAY)
    (item,) = quarantine.held(tmp_path)
    assert (item.raw_hash, item.first_seen) == ("raw-2", NEXT_MONDAY.isoformat())


def test_held_item_is_known_with_the_rules_that_held_it(tmp_path: Path) -> None:
    quarantine.record(tmp_path, [ENTRY], fingerprint="f1")
    assert quarantine.known_held(tmp_path) == {("notes", "a.md"): ("raw-1", "f1")}


def test_released_content_is_approved_and_no_longer_known_as_held(tmp_path: Path) -> None:
    quarantine.record(tmp_path, [ENTRY], fingerprint="f1")
    assert quarantine.release(tmp_path, ENTRY.id).status == "released"
    assert quarantine.approved(tmp_path) == {"raw-1"}
    assert quarantine.known_held(tmp_path) == {}


def test_release_survives_the_acceptance_of_its_content_and_ends_with_another(tmp_path: Path) -> None:
    quarantine.record(tmp_path, [ENTRY], fingerprint="f1")
    quarantine.release(tmp_path, ENTRY.id)
    quarantine.resolve(tmp_path, accepted=[("notes", "a.md", "raw-1")])
    assert quarantine.approved(tmp_path) == {"raw-1"}
    quarantine.resolve(tmp_path, accepted=[("notes", "a.md", "raw-2")])
    assert quarantine.held(tmp_path) == []


def test_released_item_that_fails_again_is_held_again(tmp_path: Path) -> None:
    quarantine.record(tmp_path, [ENTRY], fingerprint="f1")
    quarantine.release(tmp_path, ENTRY.id)
    quarantine.record(tmp_path, [ENTRY], fingerprint="f1")
    assert quarantine.approved(tmp_path) == frozenset()


def test_item_that_the_source_lists_no_more_is_forgotten(tmp_path: Path) -> None:
    quarantine.record(tmp_path, [ENTRY, replace(ENTRY, key="b.md")], fingerprint="f1")
    assert quarantine.clear_absent(tmp_path, [("notes", "b.md"), ("notes", "c.md")]) == 1
    assert [item.key for item in quarantine.held(tmp_path)] == ["b.md"]


def test_item_accepted_later_is_forgotten(tmp_path: Path) -> None:
    quarantine.record(tmp_path, [ENTRY], fingerprint="f1")
    assert quarantine.resolve(tmp_path, accepted=[("notes", "a.md", "raw-2")]) == 1
    assert quarantine.held(tmp_path) == []


def test_parse_rejects_and_gated_documents_are_recorded_alike(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Reject:
        source: str = "files"
        key: str = "b.pdf"
        raw_hash: str = "raw-b"
        uri: str = "files/b.pdf"
        code: str = "encrypted"
        reason: str = "the PDF asks for a password"

    document = make_document(
        Item("notes", "a.md", "1", 1, "notes/a.md"),
        title="A",
        text="text",
        knowledge_base="notes",
        access=["finance"],
        raw_hash="raw-a",
    )
    table = (
        to_table([document]).append_column("rule", pa.array(["expect_x"])).append_column("reason", pa.array(["why"]))
    )
    pq.write_table(table.cast(HELD_SCHEMA), tmp_path / "held.parquet")
    entries = [*quarantine.from_rejects([Reject()]), *quarantine.from_held(tmp_path / "held.parquet")]
    quarantine.record(tmp_path, entries, fingerprint="f1")
    assert {(item.key, item.stage, item.rule) for item in quarantine.held(tmp_path)} == {
        ("b.pdf", "parse", "encrypted"),
        ("a.md", "gate", "expect_x"),
    }


def test_only_the_owner_can_read_the_quarantine(tmp_path: Path) -> None:
    quarantine.record(tmp_path, [ENTRY], fingerprint="f1")
    assert stat.S_IMODE(ledger(tmp_path).parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(ledger(tmp_path).stat().st_mode) == 0o600


def test_document_that_is_gone_leaves_no_bytes(tmp_path: Path) -> None:
    others = [replace(ENTRY, key=str(number), text="other " * 50) for number in range(50)]
    quarantine.record(tmp_path, [*others, replace(ENTRY, text="canary " * 2000)], fingerprint="f1")
    assert b"canary" in ledger(tmp_path).read_bytes()
    assert quarantine.resolve(tmp_path, gone=[("notes", "a.md")]) == 1
    assert not any(b"canary" in path.read_bytes() for path in ledger(tmp_path).parent.iterdir())
    assert len(quarantine.held(tmp_path)) == 50


def test_long_text_is_kept_by_its_beginning_only(tmp_path: Path) -> None:
    quarantine.record(tmp_path, [replace(ENTRY, text="x" * 300_000)], fingerprint="f1")
    assert len(quarantine.show(tmp_path, ENTRY.id).text) == quarantine.MAX_SHOWN_CHARACTERS


def test_reading_an_empty_quarantine_makes_nothing(tmp_path: Path) -> None:
    assert quarantine.held(tmp_path) == []
    assert quarantine.approved(tmp_path) == frozenset()
    assert quarantine.resolve(tmp_path, gone=[("notes", "a.md")]) == 0
    assert list(tmp_path.iterdir()) == []


def test_unknown_id_is_refused_with_the_command_that_lists_them(tmp_path: Path) -> None:
    for act in (quarantine.show, quarantine.release):
        with pytest.raises(ConfigurationError, match="almanac quarantine"):
            act(tmp_path, "0123456789ab")


def test_damaged_ledger_is_named_with_its_remedy(tmp_path: Path) -> None:
    quarantine.record(tmp_path, [ENTRY], fingerprint="f1")
    ledger(tmp_path).write_bytes(b"no database" * 1000)
    with pytest.raises(CorruptionError, match="delete it and run `almanac refresh`"):
        quarantine.held(tmp_path)


def test_refresh_killed_while_recording_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    quarantine.record(tmp_path, [ENTRY], fingerprint="f1")
    code = f"""
import os, signal
from pathlib import Path
from tasks.corpus import quarantine
def entries():
    for number in range(5000):
        if number == 4000:
            os.kill(os.getpid(), signal.SIGKILL)
        yield quarantine.Entry("notes", str(number), "raw", "uri", "gate", "rule", "reason", "", "text " * 500)
quarantine.record(Path({str(tmp_path)!r}), entries(), fingerprint="f1")
"""
    root = Path(quarantine.__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", code], cwd=root, env={**os.environ}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [item.key for item in quarantine.held(tmp_path)] == ["a.md"]
