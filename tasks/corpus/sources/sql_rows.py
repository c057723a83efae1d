"""A row of a query as an item: its key, its hashes, its text, what it says beside it. Knows no database."""

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tasks.corpus.document import sha256
from tasks.corpus.parsing.decode import decode_text
from tasks.corpus.parsing.details import metadata_text, read_access, read_time
from tasks.errors import ParseError
from tasks.params.sources import SqlColumns

Key = int | str | uuid.UUID
_CARRIED = ("title", "uri", "access", "knowledge_base", "updated_at", "expires_at")


@dataclass(frozen=True, slots=True)
class SqlRow:
    """What is kept of a row between two scans: no text.

    Attributes:
        locator: the key as the database has it, for `read_locator`; '' where a row has none.
        details: hash of all columns but those of the text.
        content: hash of all columns.
        settled: whether equal details mean an equal text.
    """

    key: str
    locator: str
    details: str
    content: str
    size_bytes: int
    uri: str
    updated_at: dt.datetime | None
    settled: bool = False


def read_key(value: object) -> Key:
    """Return the value of a key column.

    Raises:
        ParseError: `invalid_metadata`: it can name no document.
    """
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str | uuid.UUID) or value == "":
        raise ParseError(
            "invalid_metadata", f"the key of a row must be a number, a text or a UUID, found {value!r}; correct it"
        )
    _check_text("the key", value)
    return value


def make_locator(key: Key) -> str:
    """Return the key as text from which `read_locator` makes it again: `12` and `"12"` differ to a database."""
    return json.dumps({"uuid": str(key)} if isinstance(key, uuid.UUID) else key)


def read_locator(locator: str) -> Key:
    """Return the key that `make_locator` wrote."""
    key: int | str | dict[str, str] = json.loads(locator)
    return uuid.UUID(key["uuid"]) if isinstance(key, dict) else key


def text_of(record: Mapping[str, Any], columns: SqlColumns) -> bytes:
    """Return the text of a row: its columns as paragraphs, nulls left out.

    Raises:
        ParseError: `encoding`: a column of bytes is no text.
    """
    values = (record[name] for name in columns.text)
    parts = [decode_text(bytes(value)) if _is_bytes(value) else str(value) for value in values if value is not None]
    # What SQLite could not decode arrives as lone surrogates: as bytes again, they are judged as those of a file.
    return "\n\n".join(parts).encode("utf-8", "surrogateescape")


def said_by(record: Mapping[str, Any], columns: SqlColumns) -> Mapping[str, object]:
    """Return what a row says beside its text, under our names.

    A null in the column of the access is nobody: a join that matches no group must not open a document.

    Raises:
        ParseError: `encoding`, `invalid_metadata`: a value is no text.
    """
    names = {name: column for name in _CARRIED if (column := getattr(columns, name))}
    said = {name: _plain(name, record[column]) for name, column in names.items()}
    if "access" in said:
        said["access"] = _groups(said["access"])
    metadata = {name: metadata_text(_plain(name, record[name])) for name in columns.metadata}
    return {name: value for name, value in said.items() if value is not None} | (
        {"metadata": metadata} if metadata else {}
    )


def stated_access(record: Mapping[str, Any], columns: SqlColumns) -> tuple[str, ...] | None:
    """Return the groups that a row names, None where the query has no column of them.

    Raises:
        ParseError: `invalid_metadata`: nobody can tell which.
    """
    return read_access(_groups(record[columns.access])) if columns.access else None


def row_of(record: Mapping[str, Any], columns: SqlColumns) -> SqlRow:
    """Return what is kept of a row; one without a usable key is named by its details.

    A record of the details alone gives a row whose content is theirs.
    """
    details = sha256(*(_hashable(record[name]) for name in columns.details))
    texts = [record[name] for name in columns.text if name in record]
    content = sha256(details, *map(_hashable, texts))
    try:
        native = read_key(record[columns.key])
        key, locator = str(native), make_locator(native)
    except ParseError:
        key, locator = f"row without a key {details[:12]}", ""
    uri = record[columns.uri] if columns.uri else None
    moment = record[columns.updated_at] if columns.updated_at else None
    size = sum(len(value) if _is_bytes(value) else len(str(value)) for value in texts)
    return SqlRow(
        key, locator, details, content, size, uri if isinstance(uri, str) and _is_clean(uri) else "", _time(moment)
    )


def without_content(key: Key, why: str) -> SqlRow:
    """Return what is kept of a key whose rows can't be told: fetching it says why."""
    return SqlRow(str(key), make_locator(key), "", sha256(why, str(key)), 0, "", None)


def settled(times: Mapping[str, object]) -> frozenset[str]:
    """Return the keys whose time of change can be relied on when it comes again: all but those of the newest.

    A row that changes twice within one tick of the clock bears the same time after both, and that is the newest one.
    """
    said = {key: value for key, value in times.items() if value is not None}
    try:
        newest = max(said.values(), default=None)  # type: ignore[type-var]  # whatever the column holds
    except TypeError:  # texts among numbers have no order
        return frozenset()
    return frozenset(key for key, value in said.items() if value != newest)


def _groups(value: object) -> object:
    """An array, JSON text of one (MySQL and SQLite have no arrays), or the name of one group."""
    if value is None:
        return ()
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _plain(name: str, value: object) -> object:
    _check_text(f"`{name}`", value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value) if isinstance(value, uuid.UUID) else value


def _check_text(what: str, value: object) -> None:
    if isinstance(value, str) and not _is_clean(value):
        raise ParseError("encoding", f"{what} must be valid Unicode, found {value!r}; correct the row")


def _is_clean(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_bytes(value: object) -> bool:
    return isinstance(value, bytes | bytearray | memoryview)


def _hashable(value: object) -> str:
    """A value with its type: null, '' and 0 differ."""
    if value is None:
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"bytes {bytes(value).hex()}"
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        value = value.astimezone(dt.UTC)  # the zone is the session's, not the row's
    return f"{type(value).__name__} {value}"


def _time(value: object) -> dt.datetime | None:
    try:
        return read_time("updated_at", value)
    except ParseError:  # the row is listed; fetching it gives the reason
        return None
