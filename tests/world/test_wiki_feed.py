"""dlt writes what a feed of records is: a wiki on a real local server, its permissions, its deletions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from experiments.wiki_feed import readers, write_feed
from tasks.corpus.document import Document
from tasks.corpus.parsing.parse import parse_items
from tasks.corpus.sources import open_source
from tasks.params import ParsingParams
from tasks.params.sources import RecordsSource
from tests.conftest import BASE_PARAMS
from tests.server import served

TOKEN = "secret-token"
PAGES_AT_ONCE = 2


def restricted(*groups: str, num_users: int = 0) -> dict[str, Any]:
    entries = {"group": {"results": [{"name": name} for name in groups]}, "user": {"size": num_users}}
    return {"read": {"restrictions": entries}}


def page(number: int, title: str, text: str, restrictions: Any, *ancestors: Any) -> dict[str, Any]:
    content = {
        "id": str(number),
        "title": title,
        "body": {"view": {"value": f"<h1>{title}</h1><p>{text}</p>"}},
        "version": {"when": "2026-11-20T10:00:00.000Z", "number": 1},
        "ancestors": [{"restrictions": entry} for entry in ancestors],
        "_links": {"webui": f"/spaces/OPS/pages/{number}"},
    }
    return content | ({} if restrictions is None else {"restrictions": restrictions})


def wiki(stored: list[dict[str, Any]]) -> FastAPI:
    """Confluence's list of pages, two at a time."""
    app = FastAPI()

    @app.get("/rest/api/content")
    def content(request: Request, start: int = 0) -> JSONResponse:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({}, 401)
        links = {}
        if start + PAGES_AT_ONCE < len(stored):
            links = {"next": f"/rest/api/content?start={start + PAGES_AT_ONCE}"}
        return JSONResponse({"results": stored[start : start + PAGES_AT_ONCE], "_links": links})

    return app


@pytest.fixture
def stored() -> list[dict[str, Any]]:
    return [
        page(1, "Locks", "A lock ends after 60 seconds.", restricted()),
        page(2, "Salaries", "Paid on the 25th &amp; no later.", restricted("hr")),
        page(3, "Bonuses", "Paid in May.", restricted(), restricted("hr", "board"), restricted("board")),
        page(4, "Diary", "Of one user.", restricted(num_users=1)),
        page(5, "Odd", "Nothing is said of its readers.", None),
    ]


@pytest.fixture
def address(stored: list[dict[str, Any]]) -> Iterator[str]:
    with served(wiki(stored)) as place:
        yield place


def documents(folder: Path) -> dict[str, Document]:
    """What a source with everyone as its readers makes of the feed: no page may fall back to that."""
    source = RecordsSource.model_validate(
        {
            "name": "wiki",
            "kind": "records",
            "mode": "snapshot",
            "url": f"{folder}/wiki/pages/*.jsonl*",
            "knowledge_base": "wiki",
            "access": ["everyone"],
            "max_removed_fraction": 0.5,
        }
    )
    cache = folder / "cache"
    items = list(open_source(source, cache=cache).scan())
    parsed = parse_items(source, items, parsing=ParsingParams(**BASE_PARAMS["parsing"]), cache=cache)
    assert parsed.rejects == []
    return {document.key: document for document in parsed.documents}


def test_pages_arrive_with_their_readers_and_leave_when_they_are_deleted(
    address: str, stored: list[dict[str, Any]], tmp_path: Path
) -> None:
    def write() -> int:
        return write_feed(address, tmp_path, token=TOKEN, space_groups=["staff", "hr", "board"])

    assert write() == 5
    first = documents(tmp_path)
    assert {key: set(document.access) for key, document in first.items()} == {
        "1.html": {"board", "hr", "staff"},
        "2.html": {"hr"},
        "3.html": {"board"},
        "4.html": set(),
        "5.html": set(),
    }
    assert first["2.html"].text == "# Salaries\n\nPaid on the 25th & no later."
    assert (first["1.html"].title, first["1.html"].uri) == ("Locks", f"{address}/spaces/OPS/pages/1")
    assert first["1.html"].updated_at is not None

    del stored[0]
    stored[0]["body"]["view"]["value"] = "<p>Paid on the 26th.</p>"
    assert write() == 4
    second = documents(tmp_path)
    assert sorted(second) == ["2.html", "3.html", "4.html", "5.html"]
    assert second["2.html"].text.endswith("Paid on the 26th.")
    assert second["3.html"].record_hash == first["3.html"].record_hash


def test_a_wiki_that_refuses_leaves_the_feed_as_it_was(address: str, tmp_path: Path) -> None:
    write_feed(address, tmp_path, token=TOKEN, space_groups=[])
    before = documents(tmp_path)
    with pytest.raises(Exception, match="401"):
        write_feed(address, tmp_path, token="wrong", space_groups=[])
    assert documents(tmp_path) == before
    assert {document.access for document in before.values()} == {()}, "no group of the space was named"


def test_the_files_hold_no_token(address: str, tmp_path: Path) -> None:
    write_feed(address, tmp_path, token=TOKEN, space_groups=[])
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([restricted()], {"staff", "hr"}),
        ([restricted("hr", "guests")], {"hr"}),
        ([restricted("hr"), restricted("staff")], set()),
        ([restricted("hr"), {}], set()),
        ([json.loads('{"read": null}')], set()),
    ],
)
def test_readers_are_those_whom_each_level_lets_in(levels: list[Any], expected: set[str]) -> None:
    found = readers([{"restrictions": level} for level in levels], frozenset({"staff", "hr"}))
    assert found == expected
