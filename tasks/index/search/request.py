"""What is asked of an index, and the filters that it becomes: typed expressions, and the same check in Python.

No text of an asker reaches a filter as SQL: names are allow-listed, values enter as typed literals.
"""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from tasks.errors import ConfigurationError
from tasks.index.access import AccessMap
from tasks.index.search.facets import facet
from tasks.params.sources import NAME

if TYPE_CHECKING:
    from lancedb.expr import Expr

Mode = Literal["hybrid", "vector", "full_text"]
MAX_METADATA_FILTERS = 16


@dataclass(frozen=True, slots=True)
class Request:
    """One search.

    Attributes:
        groups: the asker's groups; `everyone` is added.
        knowledge_bases: search only these; empty: all.
        sources: search only these; empty: all.
        metadata: fields that a document must hold, as `("team", "payments")`; a list holds each of its elements.
        since: only documents updated at this time or later; a document without a time is left out.
        until: only documents updated before this time.
        as_of: the number of a release to search in place of the one that serves, by the access of today.
    """

    question: str
    groups: Collection[str] = ()
    knowledge_bases: Collection[str] = ()
    mode: Mode | None = None
    top_k: int | None = None
    sources: Collection[str] = ()
    metadata: Collection[tuple[str, str]] = ()
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    as_of: int | None = None


def filters_of(request: Request, readable: Sequence[int]) -> "Expr":
    """Return the filter of a request: access first, then what was asked for.

    Raises:
        ConfigurationError: a name, a field or a value is none that a document could have.
    """
    from lancedb.expr import col, lit

    filters = col("access_id").isin(list(readable))
    for column, names in (("knowledge_base", request.knowledge_bases), ("source", request.sources)):
        if names:
            filters = filters.and_(col(column).isin(sorted(checked_names(column, names))))
    for key, value in _checked_metadata(request.metadata):
        filters = filters.and_(col("facets").contains(lit(facet(key, value))))
    if request.since is not None:
        filters = filters.and_(col("updated_at") >= lit(_in_utc(request.since)))
    if request.until is not None:
        filters = filters.and_(col("updated_at") < lit(_in_utc(request.until)))
    return filters


def may_return(row: Mapping[str, Any], request: Request, access: AccessMap, now: dt.datetime) -> bool:
    """Return whether a row may leave: the check in Python behind the filter in the database, which must agree."""
    if not access.may_read(row["document_id"], row["access_id"], request.groups):
        return False
    if request.knowledge_bases and row["knowledge_base"] not in request.knowledge_bases:
        return False
    if request.sources and row["source"] not in request.sources:
        return False
    if any(facet(key, value) not in row["facets"] for key, value in request.metadata):
        return False
    return _in_time(row["updated_at"], request) and (row["expires_at"] is None or bool(row["expires_at"] > now))


def _in_time(updated_at: dt.datetime | None, request: Request) -> bool:
    if request.since is not None and (updated_at is None or updated_at < _in_utc(request.since)):
        return False
    return request.until is None or (updated_at is not None and updated_at < _in_utc(request.until))


def _in_utc(time: dt.datetime) -> dt.datetime:
    """A time without a zone is UTC, as in documents; one before the year 1 or behind 9999 there is its end."""
    if time.tzinfo is None:
        return time.replace(tzinfo=dt.UTC)
    try:
        return time.astimezone(dt.UTC)
    except OverflowError:
        end = dt.datetime.min if time.year == dt.MINYEAR else dt.datetime.max
        return end.replace(tzinfo=dt.UTC)


def checked_names(column: str, names: Collection[str]) -> Collection[str]:
    """Return names of a column that a document could have.

    Raises:
        ConfigurationError: one is none.
    """
    for name in names:
        if not NAME.fullmatch(name):
            raise ConfigurationError(f"a {column.replace('_', ' ')} must match {NAME.pattern}, found {name[:80]!r}")
    return names


def _checked_metadata(metadata: Collection[tuple[str, str]]) -> Collection[tuple[str, str]]:
    if len(metadata) > MAX_METADATA_FILTERS:
        raise ConfigurationError(
            f"a search must filter by at most {MAX_METADATA_FILTERS} fields of metadata, found {len(metadata)}"
        )
    for key, _ in metadata:
        if not key.strip():
            raise ConfigurationError("a field of metadata must have a name, found an empty one; write `name=value`")
    return metadata


def checked_mode(mode: str | None) -> Mode | None:
    """Return a search mode by name.

    Raises:
        ConfigurationError: there is no such mode.
    """
    if mode is not None and mode not in get_args(Mode):
        raise ConfigurationError(f"mode must be one of {', '.join(get_args(Mode))}, found {mode[:40]!r}")
    return cast(Mode | None, mode)


def parse_metadata(fields: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Return fields that were written as `name=value`.

    Raises:
        ConfigurationError: one has no `=`.
    """
    for field in fields:
        if "=" not in field:
            raise ConfigurationError(f"a field of metadata must be written as `name=value`, found {field[:80]!r}")
    return tuple((name.strip(), value.strip()) for name, _, value in (field.partition("=") for field in fields))
