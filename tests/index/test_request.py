"""Filters of a search: typed expressions, and the same in Python."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ConfigurationError
from tasks.index.access import AccessMap, access_id
from tasks.index.search import Request, parse_metadata
from tasks.index.search.facets import facet, facets_of
from tasks.index.search.request import filters_of, may_return

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
EVERYONE = access_id(["everyone"])
ACCESS = AccessMap(sets={EVERYONE: frozenset({"everyone"})}, changes={})


def row(**changes: Any) -> dict[str, Any]:
    return {
        "document_id": "wiki:a",
        "access_id": EVERYONE,
        "knowledge_base": "kb",
        "source": "wiki",
        "facets": facets_of('{"team": "payments", "tags": ["a", "b"], "draft": false}'),
        "updated_at": NOW,
        "expires_at": None,
    } | changes


@pytest.mark.parametrize(
    ("request_", "returned"),
    [
        (Request("q"), True),
        (Request("q", sources=["wiki"]), True),
        (Request("q", sources=["blog"]), False),
        (Request("q", metadata=[("team", "payments"), ("tags", "b")]), True),
        (Request("q", metadata=[("team", "pay")]), False),
        (Request("q", metadata=[("draft", "false")]), True),
        (Request("q", since=NOW), True),
        (Request("q", since=NOW + dt.timedelta(seconds=1)), False),
        (Request("q", since=NOW.replace(tzinfo=None)), True),
        (Request("q", since=dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14)))), True),
        (Request("q", until=dt.datetime(9999, 12, 31, 23, tzinfo=dt.timezone(dt.timedelta(hours=-9)))), True),
        (Request("q", until=NOW), False),
    ],
)
def test_row_is_judged_by_every_filter(request_: Request, returned: bool) -> None:
    assert may_return(row(), request_, ACCESS, NOW) is returned


def test_document_without_a_time_is_left_out_where_times_are_asked_for() -> None:
    assert not may_return(row(updated_at=None), Request("q", since=NOW), ACCESS, NOW)
    assert may_return(row(updated_at=None), Request("q"), ACCESS, NOW)


@given(st.dictionaries(st.text(min_size=1), st.text() | st.lists(st.text())), st.text(min_size=1), st.text())
def test_metadata_holds_a_field_only_if_the_document_names_it(metadata: dict[str, Any], key: str, value: str) -> None:
    import json

    def plain(text: str) -> str:
        return text.replace("\x1f", " ").strip()

    named = {
        (plain(name), plain(entry))
        for name, held in metadata.items()
        for entry in ([held] if isinstance(held, str) else held)
    }
    assert (facet(key, value) in facets_of(json.dumps(metadata))) == (
        f"{plain(key)}={plain(value)}" in {f"{name}={entry}" for name, entry in named}
    )


@pytest.mark.parametrize("name", ["a') OR true --", "", "x" * 81, "kb;drop"])
def test_hostile_names_are_refused(name: str) -> None:
    for request in (Request("q", knowledge_bases=[name]), Request("q", sources=[name])):
        with pytest.raises(ConfigurationError, match="must match"):
            filters_of(request, [1])


def test_values_enter_as_literals() -> None:
    sql = filters_of(Request("q", metadata=[("team", "x') OR true --")]), [1]).to_sql()
    assert "x'') OR true --" in sql


def test_fields_are_written_with_an_equals_sign() -> None:
    assert parse_metadata(["team=pay=ments", " a = b "]) == (("team", "pay=ments"), ("a", "b"))
    with pytest.raises(ConfigurationError, match="name=value"):
        parse_metadata(["team"])
