"""Every field of every record with every odd value: that record alone is refused, in every kind of source."""

import datetime as dt
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.corpus.document import to_table
from tasks.corpus.parsing.parse import Parsed, parse_items
from tasks.corpus.quarantine import from_rejects
from tasks.corpus.quarantine import record as keep
from tasks.corpus.sources import open_source
from tasks.params import ParsingParams
from tasks.params.sources import FilesSource, GitSource, RecordsSource, Source

MANY = int(os.environ.get("ALMANAC_WORLD_EXAMPLES", "0"))
PARSING = ParsingParams(timeout_seconds=30, max_memory_mb=1024, max_item_mb=1, max_characters=10_000)
BASE = {"name": "s", "knowledge_base": "kb", "access": ["secret-group"], "max_removed_fraction": 1.0}
FIELDS = (
    *(
        "id",
        "text",
        "title",
        "uri",
        "access",
        "knowledge_base",
        "updated_at",
        "expires_at",
        "version",
        "op",
        "metadata",
    ),
    "other",
)
GOOD = {"id": "good", "text": "Good text.", "access": ["readers"]}

_TEXTS = st.sampled_from(
    [
        *(
            "",
            " ",
            "\x00",
            "a\x00b",
            "\ud83d",
            "\udfff",
            "\ufeff",
            "\u202e",
            "a\nb",
            "x" * 70_000,
            "../../etc/passwd",
            "/",
        ),
        *("delete", "everyone", "hr", "*", "null", "1e999", "0x10", "2024-13-40", "9999-12-31T23:59:59-23:59", "now"),
        *("0000-00-00", "2024-02-30", "10000-01-01", "-1", "12:00", "2024-W01", "T", "\u0661", "\u0000-\uffff"),
    ]
) | st.text(max_size=8)
_NUMBERS = st.sampled_from(
    [0, -1, 1, 10**30, -(10**30), 2**63, 1.5, -0.0, 1e308, -1e308, 1e18, 253402300800, -62135596801, 1e-300]
) | st.sampled_from([float("nan"), float("inf"), float("-inf")])
_SCALARS = st.none() | st.booleans() | _NUMBERS | _TEXTS
VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3), max_leaves=6
)
_DEEP = st.sampled_from(
    ["9" * 5000, "-0", "1e99999", "NaN", "[" * 5000 + "]" * 5000, '{"a":' * 3000 + "1" + "}" * 3000]
)


def feed(url: Path, mode: str = "changes", **more: object) -> RecordsSource:
    block = BASE | {"kind": "records", "url": str(url), "mode": mode, "fields": {"version": "version"}} | more
    return RecordsSource.model_validate(block)


def read(source: Source, scratch: Path) -> Parsed:
    """List, parse, and write documents and rejects as a refresh does: none of it may raise."""
    cache = scratch / "cache"
    items = list(open_source(source, cache=cache).scan())
    parsed = parse_items(source, items, parsing=PARSING, cache=cache)
    assert len(parsed.documents) + len(parsed.rejects) == len(items)
    pq.write_table(to_table(parsed.documents), scratch / "documents.parquet")
    keep(scratch, from_rejects(parsed.rejects), fingerprint="f")
    return parsed


def never_more_readers(parsed: Parsed, records: list[Mapping[str, Any]]) -> None:
    """Only groups that a record names, or those of the source where it names none."""
    named = {str(record["id"]): record.get("access") for record in records if isinstance(record.get("id"), str | int)}
    for document in parsed.documents:
        said = named.get(document.key)
        groups = [said] if isinstance(said, str) else said
        assert set(document.access) <= set(["secret-group"] if groups is None else groups)


@settings(max_examples=MANY or 150)
@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8), max_size=6), st.booleans())
def test_no_value_of_a_field_stops_a_feed(records: list[dict[str, Any]], is_array: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        lines = [json.dumps(record) for record in [*records, GOOD]]
        (scratch / "feed.json").write_text(f"[{', '.join(lines)}]" if is_array else "\n".join(lines))
        parsed = read(feed(scratch / "feed.json"), scratch)

        assert [document.access for document in parsed.documents if document.key == "good"] == [("readers",)]
        never_more_readers(parsed, [*records, GOOD])


@settings(max_examples=MANY or 60)
@given(st.sampled_from(FIELDS), _DEEP)
def test_no_depth_of_a_field_stops_a_feed(name: str, deep: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        line = f'{{"id": "deep", "text": "T", "{name}": {deep}}}'
        (scratch / "feed.jsonl").write_text(f"{line}\n{json.dumps(GOOD)}\n")
        parsed = read(feed(scratch / "feed.jsonl"), scratch)

        assert "good" in {document.key for document in parsed.documents}


_COLUMNS = st.sampled_from(
    [
        pa.array([None, "x"], pa.string()),
        pa.array([7, None], pa.int64()),
        pa.array([2**63, 0], pa.uint64()),
        pa.array([1.5, float("nan")]),
        pa.array([b"\xff\x00", b"ok"], pa.binary()),
        pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
        pa.array([dt.datetime(1, 1, 1), None], pa.timestamp("us")),
        pa.array([2**62, -(2**62)], pa.timestamp("ms")),
        pa.array([2**62, 1], pa.timestamp("ns", "UTC")),
        pa.array([1, 2], pa.duration("s")),
        pa.array([["hr"], None], pa.list_(pa.string())),
        pa.array([[None], ["hr", None]], pa.list_(pa.string())),
        pa.array([{"a": 1}, None], pa.struct([("a", pa.int64())])),
        pa.array([[("hr", 1)], None], pa.map_(pa.string(), pa.int64())),
        pa.array([True, None]),
        pa.array([dt.time(1), None]),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.nulls(2),
    ]
)


@settings(max_examples=MANY or 120)
@given(st.dictionaries(st.sampled_from(FIELDS), _COLUMNS, max_size=8))
def test_no_type_of_a_column_stops_a_table(columns: dict[str, pa.Array]) -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "feed").mkdir()
        pq.write_table(pa.table(columns or {"id": ["a"]}), scratch / "feed" / "1.parquet")
        pq.write_table(pa.table({"id": ["good"], "text": ["Good text."]}), scratch / "feed" / "2.parquet")
        parsed = read(feed(scratch / "feed"), scratch)

        assert "good" in {document.key for document in parsed.documents}


_NAMES = st.sampled_from(
    [
        *("a.md", "A.md", "a .md", " a.md", "é.md", "e\u0301.md", "CON.md", "nul.txt", "a\nb.md", "a\tb.md", "\x7f.md"),
        *("-rf.md", "--.md", "a?.md", "a*.md", "[a].md", "a#b.md", "a%20b.md", "a:b.md", "a|b.md", "a\\b.md", "'.md"),
        *(
            "\u202egnp.md",
            "😀.md",
            "x" * 250 + ".md",
            "日本語.txt",
            "a.md.md",
            "a.MD",
            "~.md",
            "$HOME.md",
            "a;b.md",
            "&.md",
        ),
        *("sub/a.md", "sub/" * 20 + "deep.md", "a\u200b.md", "\ufeffa.md", "..a.md", "a..md", "<b>.md", '"quoted".md'),
    ]
)
_RAW_NAMES = st.sampled_from([b"\xff\xfe.md", b"caf\xe9.md", b"\x80\n.md", b"a\xc3.md"])


@settings(max_examples=MANY or 60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_NAMES | _RAW_NAMES, min_size=1, max_size=8, unique=True))
def test_no_name_of_a_file_stops_a_folder_or_a_repository(names: list[str | bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scratch, docs = Path(folder), Path(folder, "docs")
        for name in names:
            path = docs / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"# Page\n\nThe text of " + os.fsencode(name).hex().encode())
        wanted = {b"# Page\n\nThe text of " + os.fsencode(name).hex().encode() for name in names}
        local = FilesSource.model_validate(BASE | {"kind": "files", "url": str(docs), "include": ["**/*", "**/.*"]})
        check_names(read(local, scratch), wanted)

        git = [
            "git",
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b.c",
            "-c",
            "core.precomposeunicode=false",
            "-C",
            str(docs),
        ]
        for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "m"]):
            subprocess.run([*git, *arguments], check=True)
        block = {"kind": "git", "url": str(docs), "ref": "main", "include": ["**/*", "**/.*"]}
        check_names(read(GitSource.model_validate(BASE | block), scratch / "cache"), wanted)


def check_names(parsed: Parsed, wanted: set[bytes]) -> None:
    assert not parsed.rejects
    assert {document.text.encode() for document in parsed.documents} >= wanted
    assert len({document.document_id for document in parsed.documents}) == len(parsed.documents)
    for document in parsed.documents:
        assert document.title
        assert "\n" not in document.title


@pytest.mark.parametrize("block", ["access: [hr, [finance]]", "access: {hr: true}", "access: 7", "access: '\\ud83d'"])
def test_access_of_another_form_is_read_by_nobody(tmp_path: Path, block: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(f"---\n{block}\n---\nText.")
    parsed = read(FilesSource.model_validate(BASE | {"kind": "files", "url": str(tmp_path / "docs")}), tmp_path)

    assert [reject.access for reject in parsed.rejects] == [()]
