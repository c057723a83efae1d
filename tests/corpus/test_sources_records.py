"""Record feeds: the folded state equals a plain replay of the lines; a bad line costs itself alone."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.parsing.parse import Parsed, parse_items
from tasks.corpus.sources import open_source
from tasks.corpus.sources.feed import FeedRow, fold, read_change
from tasks.errors import DependencyError
from tasks.params import ParsingParams
from tasks.params.sources import RecordFields, RecordsSource

PARSING = ParsingParams(timeout_seconds=30, max_memory_mb=1024, max_item_mb=1, max_characters=100_000)


def records_source(url: Path | str, mode: str = "snapshot", **more: object) -> RecordsSource:
    return RecordsSource.model_validate(
        {
            "kind": "records",
            "name": "feed",
            "url": str(url),
            "mode": mode,
            "knowledge_base": "kb",
            "access": ["staff"],
            "max_removed_fraction": 0.2,
        }
        | more
    )


def write_lines(path: Path, *records: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def parsed(source: RecordsSource, tmp_path: Path) -> Parsed:
    items = list(open_source(source, cache=tmp_path / "cache").scan())
    return parse_items(source, items, parsing=PARSING, cache=tmp_path / "cache")


def texts(source: RecordsSource, tmp_path: Path) -> dict[str, str]:
    return {document.key: document.text for document in parsed(source, tmp_path).documents}


def test_a_record_gives_its_document_all_that_it_says(tmp_path: Path) -> None:
    record = {
        "id": 7,
        "text": "Words.",
        "title": "A title",
        "uri": "https://example.org/7",
        "updated_at": "2026-11-02T03:04:05+01:00",
        "expires_at": "2027-01-01",
        "access": ["finance"],
        "knowledge_base": "money",
        "metadata": {"team": "ledger", "tags": ["a", "b"]},
    }
    (document,) = parsed(records_source(write_lines(tmp_path / "x.jsonl", record)), tmp_path).documents

    assert (document.key, document.title, document.uri) == ("7", "A title", "https://example.org/7")
    assert (document.access, document.knowledge_base) == (("finance",), "money")
    assert document.updated_at is not None
    assert document.updated_at.isoformat() == "2026-11-02T03:04:05+01:00"
    assert document.expires_at is not None
    assert document.expires_at.isoformat() == "2027-01-01T00:00:00+00:00"
    assert document.metadata == {"tags": "a, b", "team": "ledger"}


@pytest.mark.parametrize(("access", "expected"), [(None, ("staff",)), ([], ()), ("finance", ("finance",))])
def test_access_of_a_record_overrides_that_of_its_source(tmp_path: Path, access: Any, expected: Any) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"id": "a", "text": "t", "access": access})

    assert parsed(records_source(path), tmp_path).documents[0].access == expected


@pytest.mark.parametrize("access", [{"group": "finance"}, 3, True, [""], ["fin ance"], ["a", None], "a,b", [["a"]]])
def test_access_that_is_no_list_of_names_fails_closed(tmp_path: Path, access: object) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"id": "a", "text": "t", "access": access})
    result = parsed(records_source(path), tmp_path)

    assert result.documents == []
    assert [(reject.key, reject.code) for reject in result.rejects] == [("a", "invalid_metadata")]


def test_the_last_of_two_records_with_one_id_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"id": "a", "text": "old"}, {"id": "a", "text": "new"})

    assert texts(records_source(path), tmp_path) == {"a": "new"}
    assert "1 record(s)" in caplog.text


def test_a_bad_line_is_rejected_with_its_number_and_the_others_go_on(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "x.jsonl",
        {"id": "a", "text": "t"},
        "{broken",
        "[1]",
        {"text": "no id"},
        {"id": "b"},
        {"id": "c", "text": 3},
    )
    result = parsed(records_source(path), tmp_path)

    assert [document.key for document in result.documents] == ["a"]
    assert [(reject.key, reject.code) for reject in result.rejects] == [
        ("x.jsonl:2", "damaged"),
        ("x.jsonl:3", "damaged"),
        ("x.jsonl:4", "invalid_metadata"),
        ("b", "empty"),
        ("c", "invalid_metadata"),
    ]
    unnamed = result.rejects[:3]
    assert all(f"line {number} of x.jsonl" in reject.reason for number, reject in enumerate(unnamed, 2))
    assert all(reject.raw_hash for reject in result.rejects)


def test_changes_are_applied_in_name_order(tmp_path: Path) -> None:
    write_lines(tmp_path / "feed" / "week_00.jsonl", {"id": "a", "text": "1"}, {"id": "b", "text": "1"})
    write_lines(
        tmp_path / "feed" / "week_01.jsonl", {"op": "modify", "id": "a", "text": "2"}, {"op": "delete", "id": "b"}
    )
    write_lines(tmp_path / "feed" / "week_02.jsonl", {"op": "add", "id": "c", "text": "3"})

    assert texts(records_source(tmp_path / "feed", "changes"), tmp_path) == {"a": "2", "c": "3"}


def test_a_new_file_is_folded_onto_the_cached_state_without_reading_the_old_ones(tmp_path: Path) -> None:
    first = write_lines(tmp_path / "feed" / "0.jsonl", {"id": "a", "text": "1"}, {"id": "b", "text": "1"})
    source = records_source(tmp_path / "feed", "changes")
    reader = open_source(source, cache=tmp_path / "cache")
    before = list(reader.scan())
    status = first.stat()
    content = first.read_bytes()
    first.write_bytes(b"x" * len(content))
    import os

    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    write_lines(tmp_path / "feed" / "1.jsonl", {"op": "delete", "id": "a"})

    assert list(reader.scan()) == before[1:]


def test_a_changed_file_is_folded_anew(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"id": "a", "text": "1"})
    source = records_source(path)
    assert texts(source, tmp_path) == {"a": "1"}
    write_lines(path, {"id": "b", "text": "longer"})

    assert texts(source, tmp_path) == {"b": "longer"}


def test_changed_field_names_fold_the_feed_anew(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"id": "a", "text": "1", "body": "2"})
    assert texts(records_source(path), tmp_path) == {"a": "1"}

    assert texts(records_source(path, fields={"text": "body"}), tmp_path) == {"a": "2"}


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    source = records_source(write_lines(tmp_path / "x.jsonl", {"id": "a", "text": "1"}))
    before = texts(source, tmp_path)
    (tmp_path / "cache" / "state.arrow").write_bytes(b"ARROW1\0\0 cut off")

    assert texts(source, tmp_path) == before


@pytest.mark.parametrize("url", ["missing.jsonl", "missing/*.jsonl", "empty"])
def test_a_feed_without_files_is_an_error_and_no_empty_list(tmp_path: Path, url: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DependencyError, match="readable feed files"):
        list(open_source(records_source(tmp_path / url), cache=tmp_path / "cache").scan())


def test_a_narrower_access_is_seen_though_the_version_stayed(tmp_path: Path) -> None:
    fields = {"version": "v"}
    path = write_lines(tmp_path / "x.jsonl", {"id": "a", "text": "t", "v": "1"})
    (before,) = open_source(records_source(path, fields=fields), cache=tmp_path / "cache").scan()
    write_lines(path, {"id": "a", "text": "t", "v": "1", "access": []})
    reader = open_source(records_source(path, fields=fields), cache=tmp_path / "cache")
    (after,) = reader.scan()

    assert after.fingerprint != before.fingerprint
    assert reader.raw_hash(after) != reader.raw_hash(before)


def test_a_record_under_another_id_keeps_its_raw_hash(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"id": "a", "text": "t"}, {"id": "b", "text": "t"})
    reader = open_source(records_source(path), cache=tmp_path / "cache")
    first, second = reader.scan()

    assert reader.raw_hash(first) == reader.raw_hash(second)


def test_a_feed_that_changed_after_the_listing_gives_a_reject_and_no_wrong_text(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"id": "a", "text": "one"}, {"id": "b", "text": "two"})
    source = records_source(path)
    items = list(open_source(source, cache=tmp_path / "cache").scan())
    write_lines(path, {"id": "b", "text": "two"}, {"id": "a", "text": "one"})

    result = parse_items(source, items, parsing=PARSING, cache=tmp_path / "cache")

    assert result.documents == []
    assert all("changed after it was listed" in reject.reason for reject in result.rejects)


def test_parquet_and_jsonl_feeds_give_the_same_documents(tmp_path: Path) -> None:
    records = [
        {"id": str(number), "text": f"text {number}", "title": f"T{number}", "access": ["x"]} for number in range(10)
    ]
    write_lines(tmp_path / "x.jsonl", *records)
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "x.parquet", row_group_size=3)
    from_lines = parsed(records_source(tmp_path / "x.jsonl"), tmp_path / "1").documents
    from_rows = parsed(records_source(tmp_path / "x.parquet"), tmp_path / "2").documents

    assert from_rows == from_lines


def test_front_matter_in_a_record_is_read_only_where_the_source_says_so(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"id": "a", "text": "---\ntitle: T\naccess: [hr]\n---\nBody"})
    (with_it,) = parsed(records_source(path, front_matter=True), tmp_path / "1").documents
    (without,) = parsed(records_source(path), tmp_path / "2").documents

    assert (with_it.title, with_it.text, with_it.access) == ("T", "Body", ("hr",))
    assert (without.text[:3], without.access) == ("---", ("staff",))


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["add", "modify", "upsert", "delete", "remove", None]), st.sampled_from("abcd"), st.text()
    ),
    max_size=30,
)


def replay(changes: Sequence[tuple[str | None, str, str]]) -> dict[str, str]:
    state: dict[str, str] = {}
    for operation, key, text in changes:
        if operation in {"delete", "remove"}:
            state.pop(key, None)
        else:
            state[key] = text
    return state


def folded(state: dict[str, FeedRow], changes: Sequence[tuple[str | None, str, str]]) -> dict[str, FeedRow]:
    records = ({"op": operation, "id": key, "text": text} for operation, key, text in changes)
    lines = (json.dumps(record).encode() for record in records)
    fold(state, (read_change(line, RecordFields(), place="p", locator=line.decode(), changes=True) for line in lines))
    return state


@given(CHANGES)
def test_the_fold_of_a_feed_is_its_replay(changes: list[tuple[str | None, str, str]]) -> None:
    state = folded({}, changes)

    assert {key: json.loads(row.locator)["text"] for key, row in state.items()} == replay(changes)


@given(CHANGES, st.integers(0, 30))
def test_a_fold_in_two_parts_is_the_fold_of_the_whole(changes: list[tuple[str | None, str, str]], cut: int) -> None:
    assert folded(folded({}, changes[:cut]), changes[cut:]) == folded({}, changes)


@given(st.binary(max_size=200))
def test_no_line_stops_the_fold(line: bytes) -> None:
    change = read_change(line, RecordFields(), place="x:1", locator="l", changes=True)

    assert change.row is None or change.row.key == change.key


def test_an_unknown_operation_is_rejected_and_changes_nothing(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"id": "a", "text": "t"}, {"id": "a", "op": "explode"})
    result = parsed(records_source(path, "changes"), tmp_path)

    assert [document.key for document in result.documents] == ["a"]
    assert [(reject.key, reject.code) for reject in result.rejects] == [("x.jsonl:2", "invalid_metadata")]
    assert "'explode'" in result.rejects[0].reason
