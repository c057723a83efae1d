"""Feeds as they are exported: packed, as one array, with what exporters put between the records."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.parsing.parse import Parsed, parse_items
from tasks.corpus.sources import open_source
from tasks.errors import DependencyError
from tasks.params import ParsingParams
from tasks.params.sources import RecordsSource

PARSING = ParsingParams(timeout_seconds=30, max_memory_mb=1024, max_item_mb=1, max_characters=10_000)
RECORDS = [{"id": f"r{number}", "text": f'Text, [{number}] of {{all}} "quoted" \\ é\n\nend.'} for number in range(40)]
TEXTS = {str(record["id"]): str(record["text"]) for record in RECORDS}
LINES = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS).encode()


def feed(path: Path, mode: str = "snapshot") -> RecordsSource:
    base = {"name": "feed", "kind": "records", "knowledge_base": "kb", "access": ["everyone"]}
    return RecordsSource.model_validate(base | {"url": str(path), "mode": mode, "max_removed_fraction": 1.0})


def parsed(path: Path, cache: Path) -> Parsed:
    items = list(open_source(feed(path), cache=cache).scan())
    return parse_items(feed(path), items, parsing=PARSING, cache=cache)


def texts(path: Path, cache: Path) -> dict[str, str]:
    result = parsed(path, cache)
    assert not result.rejects
    return {document.key: document.text for document in result.documents}


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl.gz", gzip.compress),
        ("a.ndjson.bz2", bz2.compress),
        ("a.json.xz", lzma.compress),
        ("a.jsonl.gz", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
    ],
)
def test_a_packed_feed_is_read(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "feed").mkdir()
    (tmp_path / "feed" / name).write_bytes(pack(LINES))

    assert texts(tmp_path / "feed", tmp_path / "cache") == TEXTS


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("lead", ["", "\ufeff", "\n  "])
@pytest.mark.parametrize("is_packed", [False, True])
def test_an_array_is_a_feed(tmp_path: Path, indent: int | None, lead: str, is_packed: bool) -> None:
    data = (lead + json.dumps(RECORDS, indent=indent) + "\n").encode()
    path = tmp_path / ("feed.json.gz" if is_packed else "feed.json")
    path.write_bytes(gzip.compress(data) if is_packed else data)

    assert texts(path, tmp_path / "cache") == TEXTS


def test_a_feed_is_read_by_a_machine_that_did_not_list_it(tmp_path: Path) -> None:
    path = tmp_path / "feed.jsonl.gz"
    path.write_bytes(gzip.compress(LINES))
    items = list(open_source(feed(path), cache=tmp_path / "here").scan())
    there = parse_items(feed(path), items[5:7], parsing=PARSING, cache=tmp_path / "there")

    assert {document.key: document.text for document in there.documents} == dict(list(TEXTS.items())[5:7])


def test_a_record_that_is_no_json_harms_no_other_of_its_array(tmp_path: Path) -> None:
    elements = [json.dumps(record) for record in RECORDS]
    odd = ['{"id": 1, "text": undefined}', "7", '"text, [of"', "[[]]", "[" * 50_000 + "]" * 50_000, "{,}"]
    (tmp_path / "feed.json").write_text(f"[{', '.join(elements[:20] + odd + elements[20:])},]")
    result = parsed(tmp_path / "feed.json", tmp_path / "cache")

    assert {document.key: document.text for document in result.documents} == TEXTS
    assert {reject.code for reject in result.rejects} == {"damaged"}
    assert len(result.rejects) == len(odd)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", json.dumps(RECORDS).encode()[:-40]),
        ("a.jsonl.gz", gzip.compress(LINES)[:-40]),
        ("a.jsonl.gz", b"no gzip at all"),
        ("a.jsonl.xz", lzma.compress(LINES)[:-30]),
    ],
)
def test_a_feed_that_is_cut_off_deletes_nothing(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)

    with pytest.raises(DependencyError, match="must have readable feed files"):
        list(open_source(feed(tmp_path / name), cache=tmp_path / "cache").scan())


def test_copies_of_files_that_are_gone_are_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "feed"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jsonl.gz").write_bytes(gzip.compress(LINES))
    list(open_source(feed(folder), cache=tmp_path / "cache").scan())
    (folder / "0.jsonl.gz").unlink()
    list(open_source(feed(folder), cache=tmp_path / "cache").scan())

    assert len(list((tmp_path / "cache" / "lines").iterdir())) == 2


_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.lists(_values, max_size=8), st.sampled_from([None, 0, 3]), st.booleans())
def test_the_elements_of_any_array_are_its_lines(values: list[Any], indent: int | None, is_ascii: bool) -> None:
    from tasks.corpus.sources.feed_lines import _elements

    lines, end = _elements(json.dumps(values, indent=indent, ensure_ascii=is_ascii).encode())

    assert end is not None
    assert [json.loads(line) for line in lines] == values
