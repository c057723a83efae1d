"""Databases: every row is a document, what left is gone, a bad row costs itself alone, no password is shown."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import event

from tasks.corpus.document import Item
from tasks.corpus.parsing.parse import Parsed, parse_items
from tasks.corpus.sources import open_source
from tasks.corpus.sources.sql_rows import settled
from tasks.errors import ConfigurationError, DependencyError
from tasks.params import ParsingParams
from tasks.params.sources import SqlSource
from tests.conftest import free_ports

PARSING = ParsingParams(timeout_seconds=30, max_memory_mb=1024, max_item_mb=1, max_characters=100_000)
COLUMNS = {
    "key": "id",
    "text": ["body", "notes"],
    "title": "title",
    "uri": "link",
    "updated_at": "changed",
    "access": "readers",
    "metadata": ["team"],
}
TABLE = "create table pages (id, title, body, notes, link, changed, readers, team)"


def sql_source(url: str, **more: object) -> SqlSource:
    return SqlSource.model_validate(
        {
            "kind": "sql",
            "name": "wiki",
            "url": url,
            "query": "select * from pages",
            "columns": COLUMNS,
            "knowledge_base": "kb",
            "access": ["everyone"],
            "max_removed_fraction": 0.2,
        }
        | more
    )


def page(number: object, body: object = "Words.", **more: object) -> dict[str, object]:
    row = {"id": number, "title": f"Page {number}", "body": body, "notes": None, "link": None, "team": "ledger"}
    return row | {"changed": f"2026-11-0{int(str(number)) % 9 + 1}", "readers": '["staff"]'} | more


class Pages:
    """A table in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute(TABLE)

    def put(self, *rows: dict[str, object]) -> None:
        names = list(rows[0])
        self.connection.executemany(
            f"insert into pages ({', '.join(names)}) values ({', '.join('?' * len(names))})",
            [list(row.values()) for row in rows],
        )

    def run(self, statement: str) -> None:
        self.connection.execute(statement)


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    pages = Pages(tmp_path / "wiki.db")
    yield pages
    pages.connection.close()


def scanned(source: SqlSource, tmp_path: Path) -> dict[str, Item]:
    return {item.key: item for item in open_source(source, cache=tmp_path / "cache").scan()}


def parsed(source: SqlSource, tmp_path: Path) -> Parsed:
    items = list(scanned(source, tmp_path).values())
    return parse_items(source, items, parsing=PARSING, cache=tmp_path / "cache")


def test_a_row_gives_its_document_all_that_it_says(pages: Pages, tmp_path: Path) -> None:
    pages.put(page(7, "First.", notes="Second.", link="https://example.org/7", changed="2026-11-02T03:04:05+01:00"))

    (document,) = parsed(sql_source(pages.url), tmp_path).documents

    assert (document.document_id, document.title, document.text) == ("wiki:7", "Page 7", "First.\n\nSecond.")
    assert (document.uri, document.access, document.metadata) == (
        "https://example.org/7",
        ("staff",),
        {"team": "ledger"},
    )
    assert document.updated_at is not None
    assert document.updated_at.isoformat() == "2026-11-02T03:04:05+01:00"


@pytest.mark.parametrize(
    ("readers", "access"),
    [(None, ()), ("[]", ()), ('["a", "b"]', ("a", "b")), ("finance", ("finance",)), ("everyone", ("everyone",))],
)
def test_null_in_the_column_of_the_access_is_nobody(
    pages: Pages, tmp_path: Path, readers: str | None, access: tuple[str, ...]
) -> None:
    pages.put(page(1, readers=readers))

    assert parsed(sql_source(pages.url), tmp_path).documents[0].access == access


@pytest.mark.parametrize("readers", ["a,b", '["a"', '[["a"]]', '{"group": "a"}', 3, "", "[null]"])
def test_access_that_cannot_be_told_hides_the_row(pages: Pages, tmp_path: Path, readers: object) -> None:
    pages.put(page(1, readers=readers))

    (reject,) = parsed(sql_source(pages.url), tmp_path).rejects

    assert (reject.code, reject.access) == ("invalid_metadata", ())


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (page(2, changed="yesterday"), "invalid_metadata"),
        (page(2, None), "empty"),
        (page(2) | {"id": None}, "invalid_metadata"),
        (page(2) | {"id": b"\x00\x01"}, "invalid_metadata"),
        (page(2) | {"id": 2.5}, "invalid_metadata"),
        (page(2, b"\x00\x9f\x92\x96\xff\xfe\x00\x00"), "type_mismatch"),
        (page(2, "x" * 2_000_000), "too_large"),
    ],
)
def test_a_bad_row_costs_itself_alone(pages: Pages, tmp_path: Path, bad: dict[str, object], code: str) -> None:
    pages.put(page(1), bad, page(3))

    result = parsed(sql_source(pages.url), tmp_path)

    assert [document.key for document in result.documents] == ["1", "3"]
    assert [reject.code for reject in result.rejects] == [code]


def test_a_title_that_is_no_utf8_costs_its_row_alone(pages: Pages, tmp_path: Path) -> None:
    pages.put(page(1), page(2))
    pages.run("update pages set title = cast(x'ff41' as text) where id = 2")

    result = parsed(sql_source(pages.url), tmp_path)

    assert [document.key for document in result.documents] == ["1"]
    assert [(reject.code, reject.access) for reject in result.rejects] == [("encoding", ("staff",))]


def test_a_key_in_two_rows_is_read_by_nobody(pages: Pages, tmp_path: Path) -> None:
    pages.put(page(1), page(2, readers="a"), page(2, readers="b"))
    source = sql_source(pages.url)

    for _scan in range(2):
        result = parsed(source, tmp_path)
        assert [document.key for document in result.documents] == ["1"]
        assert [(reject.key, reject.code, reject.access) for reject in result.rejects] == [
            ("2", "invalid_metadata", ())
        ]


def test_a_row_changed_between_listing_and_reading_is_seen_as_that_next_time(pages: Pages, tmp_path: Path) -> None:
    pages.put(page(1))
    source = sql_source(pages.url)
    items = list(scanned(source, tmp_path).values())
    pages.run("update pages set body = 'Other words.'")

    (document,) = parse_items(source, items, parsing=PARSING, cache=tmp_path / "cache").documents

    assert document.text == "Other words."
    assert document.raw_hash == scanned(source, tmp_path)["1"].fingerprint != items[0].fingerprint


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    from sqlalchemy import Engine

    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


def test_texts_are_read_only_of_rows_whose_other_columns_changed(
    pages: Pages, tmp_path: Path, statements: list[str]
) -> None:
    pages.put(*(page(number, changed=f"2026-11-{number % 28 + 1:02}") for number in range(100)))
    source = sql_source(pages.url)
    before = scanned(source, tmp_path)
    pages.run("update pages set body = 'New.', changed = '2026-12-01' where id in (3, 4)")
    pages.run("update pages set readers = 'finance' where id = 5")
    pages.run("delete from pages where id = 6")
    statements.clear()

    after = scanned(source, tmp_path)

    assert {key for key in after if after[key].fingerprint != before[key].fingerprint} == {"3", "4", "5"}
    assert before.keys() - after.keys() == {"6"}
    with_texts = [statement for statement in statements if "body" in statement]
    assert len(with_texts) == 1
    assert "IN (" in with_texts[0]
    assert before["7"] == after["7"]


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from(["set", "touch", "delete"]), st.integers(0, 5), st.integers(0, 3)), max_size=20)
)
def test_every_scan_gives_the_table_as_it_is(steps: list[tuple[str, int, int]]) -> None:
    """Each change sets the time to a clock that ticks seldom: two changes may bear one time."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        pages, source = Pages(Path(folder) / "wiki.db"), sql_source(f"sqlite:///{folder}/wiki.db")
        model: dict[str, str] = {}
        for at, (act, number, value) in enumerate(steps):
            pages.run(f"delete from pages where id = {number}")
            model.pop(str(number), None)
            if act != "delete":
                body = f"Text {value} {act}."
                pages.put(page(number, body, changed=f"2026-11-{at // 3 + 1:02}"))
                model[str(number)] = body
            items = list(scanned(source, Path(folder)).values())
            fresh = {item.key: item for item in open_source(source, cache=Path(folder) / "none" / str(at)).scan()}
            assert {item.key: item.fingerprint for item in items} == {key: fresh[key].fingerprint for key in fresh}
            assert {item.key for item in items} == model.keys()
        pages.connection.close()


def test_times_of_mixed_types_are_not_relied_on() -> None:
    assert settled({"a": 1, "b": "x"}) == frozenset()
    assert settled({"a": 1, "b": 2, "c": None}) == {"a"}


def test_damaged_cache_is_read_anew(pages: Pages, tmp_path: Path) -> None:
    pages.put(page(1))
    source = sql_source(pages.url)
    before = scanned(source, tmp_path)
    (tmp_path / "cache" / "rows.arrow").write_bytes(b"cut off")

    assert scanned(source, tmp_path) == before


def test_a_missing_database_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="wiki must be readable at"):
        scanned(sql_source(f"sqlite:///{tmp_path}/absent.db"), tmp_path)

    assert not (tmp_path / "absent.db").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"query": "select * from absent"}, "no such table"),
        ({"columns": COLUMNS | {"title": "Heading"}}, "found no Heading among id, title"),
    ],
)
def test_a_query_or_column_that_is_wrong_is_a_fault_of_the_parameters(
    pages: Pages, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        scanned(sql_source(pages.url, **change), tmp_path)


def test_signs_of_a_query_arrive_as_written(pages: Pages, tmp_path: Path) -> None:
    pages.put(page(1, "10:30 :name"), page(2))
    source = sql_source(pages.url, query="select * from pages where body like '%:name%' -- 100%\n;")

    assert scanned(source, tmp_path).keys() == {"1"}


@pytest.mark.parametrize(
    "change",
    [
        {"url": "postgresql://reader:secret@db/wiki"},
        {"url": "postgresql://reader@db/wiki?password=secret"},
        {"url": "oracle://db/wiki"},
        {"query": "delete from pages"},
        {"password_env": "not a name"},
        {"columns": COLUMNS | {"text": []}},
    ],
)
def test_parameters_that_cannot_work_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        sql_source(**({"url": "sqlite:///wiki.db"} | change))  # type: ignore[arg-type]


def test_no_error_shows_the_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WIKI_PASSWORD", "hunter2secret")
    source = sql_source(
        f"postgresql://reader@127.0.0.1:{free_ports('database')['database']}/wiki", password_env="WIKI_PASSWORD"
    )

    with pytest.raises(DependencyError) as caught:
        scanned(source, tmp_path)

    assert "hunter2secret" not in f"{caught.value} {caught.value.__cause__}"


def test_a_password_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="WIKI_PASSWORD must hold the password"):
        scanned(sql_source("postgresql://reader@db/wiki", password_env="WIKI_PASSWORD"), tmp_path)
