"""Random feeds against a model: whatever is added, edited, deleted, late or said twice, the state is the model's."""

import gzip
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.parsing.parse import parse_items
from tasks.corpus.sources import open_source
from tasks.params import ParsingParams
from tasks.params.sources import RecordsSource

MANY = int(os.environ.get("ALMANAC_WORLD_EXAMPLES", "0"))
PARSING = ParsingParams(timeout_seconds=30, max_memory_mb=1024, max_item_mb=1, max_characters=10_000)
IDS: tuple[str | int, ...] = ("a", "A", "b", 1, "01", "é", "e\u0301", "x/y.md", "\U0001f600", " pad ")
BASE = {"name": "feed", "kind": "records", "knowledge_base": "kb", "access": ["everyone"], "max_removed_fraction": 1.0}
GROUPS = ("hr", "finance")

Line = dict[str, Any]
State = dict[str, tuple[str, tuple[str, ...]]]
"""Text and readers by id."""


@dataclass
class Model:
    """What a feed means, in ten lines."""

    state: State = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    def apply(self, line: Line) -> None:
        key = str(line["id"])
        if key in self.state and line.get("v", 0) < self.versions.get(key, 0):
            return
        if str(line.get("op", "")).lower() in ("delete", "remove"):
            self.state.pop(key, None)
            self.versions.pop(key, None)
        else:
            self.state[key] = (line["text"], tuple(sorted(line.get("access", ["everyone"]))))
            self.versions[key] = line.get("v", 0)


@st.composite
def lines(draw: st.DrawFn) -> Line:
    line: Line = {"id": draw(st.sampled_from(IDS))}
    operation = draw(st.sampled_from([None, "upsert", "add", "Modify", "delete", "REMOVE"]))
    if operation is not None:
        line["op"] = operation
    if str(operation).lower() not in ("delete", "remove"):
        line["text"] = f"Text {draw(st.integers(0, 5))}."
        if draw(st.booleans()):
            line["access"] = draw(st.lists(st.sampled_from(GROUPS), max_size=2, unique=True))
    line["v"] = draw(st.integers(1, 12))
    return line


FEEDS = st.lists(st.lists(lines(), max_size=6), min_size=1, max_size=12)
"""Files of lines."""


def source(folder: Path, mode: str, *, versioned: bool) -> RecordsSource:
    fields = {"version": "v"} if versioned else {}
    return RecordsSource.model_validate(BASE | {"url": str(folder), "mode": mode, "fields": fields})


def write(folder: Path, number: int, file: list[Line], form: str) -> None:
    text = "".join(json.dumps(line) + "\n" for line in file)
    if form == "packed":
        (folder / f"changes-{number}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    elif form == "array":
        (folder / f"changes-{number}.json").write_text(json.dumps(file, indent=1))
    else:
        (folder / f"changes-{number}.jsonl").write_text(text)


def state_of(feed: RecordsSource, cache: Path) -> State:
    items = list(open_source(feed, cache=cache).scan())
    assert len({item.key for item in items}) == len(items)
    parsed = parse_items(feed, items, parsing=PARSING, cache=cache)
    assert not parsed.rejects
    return {document.key: (document.text, document.access) for document in parsed.documents}


@settings(max_examples=MANY or 60)
@given(FEEDS, st.lists(st.sampled_from(["plain", "packed", "array"]), min_size=12, max_size=12), st.booleans())
def test_after_each_file_the_state_is_the_models(feed: list[list[Line]], forms: list[str], versioned: bool) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "feed")
        folder.mkdir()
        once = source(folder, "changes", versioned=versioned)
        for number, file in enumerate(feed):
            write(folder, number, file, forms[number])
            for line in file:
                model.apply(line if versioned else {**line, "v": 0})
            if number % 4 == 3 or number == len(feed) - 1:
                assert state_of(once, Path(scratch, "cache")) == model.state, feed
        assert state_of(once, Path(scratch, "another machine")) == model.state


@settings(max_examples=MANY or 40)
@given(st.lists(st.lists(lines(), min_size=1, max_size=6), min_size=1, max_size=6), st.data())
def test_a_snapshot_that_is_written_anew_is_the_state(exports: list[list[Line]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "feed")
        folder.mkdir()
        feed = source(folder, "snapshot", versioned=False)
        for export in exports:
            kept = [line for line in export if "text" in line]
            for old in folder.iterdir():
                old.unlink()
            write(folder, 1, kept, data.draw(st.sampled_from(["plain", "packed", "array"])))
            model = Model()
            for line in kept:
                model.apply({**line, "v": 0})
            assert state_of(feed, Path(scratch, "cache")) == model.state


@settings(max_examples=MANY or 40)
@given(FEEDS, st.data())
def test_bad_lines_between_change_nothing(feed: list[list[Line]], data: st.DataObject) -> None:
    bad = [
        "{",
        '{"id": ',
        "null",
        "[]",
        "7",
        '{"id": "q", "id": "r"',
        "\\ud800",
        '{"no": "id"}',
        '{"id": true}',
        "\x00",
    ]
    model = Model()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "feed")
        folder.mkdir()
        num_bad = 0
        for number, file in enumerate(feed):
            texts = []
            for line in file:
                model.apply({**line, "v": 0})
                texts.append(json.dumps(line))
            for _ in range(data.draw(st.integers(0, 2))):
                texts.insert(data.draw(st.integers(0, len(texts))), data.draw(st.sampled_from(bad)))
                num_bad += 1
            (folder / f"changes-{number}.jsonl").write_text("\n".join(texts))
        feed_source = source(folder, "changes", versioned=False)
        items = list(open_source(feed_source, cache=Path(scratch, "cache")).scan())
        parsed = parse_items(feed_source, items, parsing=PARSING, cache=Path(scratch, "cache"))
        assert {document.key: (document.text, document.access) for document in parsed.documents} == model.state
        assert len(parsed.rejects) == num_bad
