"""The fold of a record feed: records in order to the live state. Knows no files: tested in milliseconds."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from tasks.corpus.document import sha256
from tasks.corpus.parsing import own_keys
from tasks.corpus.parsing.details import read_access, read_time
from tasks.corpus.parsing.front_matter import once_each
from tasks.errors import ParseError
from tasks.params.sources import RecordFields

REMOVES = {"delete", "remove"}
_NUMBER_MARK = "#"
_SHORT_NUMBER = re.compile(r"\d{1,6}")
_DOTTED = re.compile(r"[vV]?\d{1,9}(?:\.\d{1,9}){1,4}|[vV]\d{1,9}")
UPSERTS = {"add", "modify", "upsert"}
_CARRIED = ("title", "uri", "access", "knowledge_base", "updated_at", "expires_at")


@dataclass(frozen=True, slots=True)
class FeedRow:
    """A live record: what its item needs, and where its line is.

    Attributes:
        fingerprint: the record's hash, preceded by its version where the feed has one.
    """

    key: str
    fingerprint: str
    size_bytes: int
    uri: str
    updated_at: datetime | None
    locator: str


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a feed.

    Attributes:
        row: the record that the line puts in place; None: the line removes it.
        version: as the line says it, '' where the feed has none.
    """

    key: str
    row: FeedRow | None
    version: str = ""


def read_change(
    data: bytes | Mapping[str, Any], fields: RecordFields, *, place: str, locator: str, changes: bool
) -> Change:
    """Return one line or row as a change.

    A line that can't be used is kept as a record of its own, keyed by its place: fetching it says what is wrong. Where
    only a key stands twice in it, it keeps its id, so that no older state of the record stays in its place.
    """
    size = len(data) if isinstance(data, bytes) else 0
    try:
        record = _lenient(data)
        key = record_key(record, fields)
        operation = _operation(record, fields) if changes else "upsert"
        content = record_hash(record, fields)
    except (ParseError, ValueError, RecursionError, TypeError):
        return Change(place, FeedRow(place, sha256(str(data)), size, "", None, locator))
    said = record.get(fields.version) if fields.version else None
    version = _version(said)
    if operation in REMOVES:
        return Change(key, None, version)
    return Change(
        key,
        FeedRow(
            key=key,
            fingerprint=f"{version} {content}" if version else content,
            size_bytes=size,
            uri=_text(record.get(fields.uri) if fields.uri else None),
            updated_at=_time(record.get(fields.updated_at) if fields.updated_at else None),
            locator=locator,
        ),
        version,
    )


def fold(state: dict[str, FeedRow], changes: Iterable[Change]) -> int:
    """Apply changes in order to the state, in place; one of an older version than that in place is passed over.

    Returns:
        How many records replaced one that was there.
    """
    num_replaced = 0
    for change in changes:
        before = state.get(change.key)
        if before is not None and _is_older(change.version, before):
            continue
        if change.row is None:
            state.pop(change.key, None)
        else:
            num_replaced += before is not None
            state[change.key] = change.row
    return num_replaced


def _is_older(version: str, before: FeedRow) -> bool:
    """Only versions that have an order are compared: a hash or an etag is a sign of change and no more."""
    new, old = _ordered(version), _ordered(before.fingerprint.rpartition(" ")[0])
    return new is not None and old is not None and new[0] == old[0] and new < old


def _ordered(version: str) -> tuple[str, list[float]] | None:
    """Numbers by size, dotted ones part by part (`1.9` before `1.10`), times by their moment; None: no order."""
    if version.startswith(_NUMBER_MARK):
        return "number", [float(version[1:])]
    if _SHORT_NUMBER.fullmatch(version):
        return "number", [float(version)]
    if _DOTTED.fullmatch(version):
        return "dotted", [float(part) for part in version.lstrip("vV").split(".")]
    moment = _time(version) if "-" in version else None
    return None if moment is None else ("time", [moment.timestamp()])


def _version(value: object) -> str:
    """A version as text; a JSON number is marked, since a hash may happen to be digits alone."""
    if value is None:
        return ""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{_NUMBER_MARK if is_number else ''}{' '.join(str(value).split())}"


def load_record(data: bytes | Mapping[str, Any], fields: RecordFields) -> Mapping[str, Any]:
    """Return the record of a line.

    Raises:
        ParseError: `damaged`: the line is no JSON object; `invalid_metadata`: a key stands in it twice.
    """
    if not isinstance(data, bytes):
        return data
    try:
        record = json.loads(data, object_pairs_hook=partial(once_each, access_key=fields.access or "access"))
    except (ValueError, RecursionError) as error:
        raise ParseError("damaged", f"the line must be a JSON object, found: {error}") from error
    if not isinstance(record, dict):
        raise ParseError("damaged", f"the line must be a JSON object, found a {type(record).__name__}")
    return record


def _lenient(data: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of a line, the last of equal keys in force: for its id alone."""
    record = json.loads(data) if isinstance(data, bytes) else data
    if not isinstance(record, Mapping):
        raise TypeError("no JSON object")
    return record


def check_names(record: Mapping[str, Any], fields: RecordFields) -> None:
    """Refuse a record in which a name looks like that of a field without being it: it would be passed over.

    Raises:
        ParseError: `invalid_metadata`; where the name looks like that of `access`, with nobody as its readers.
    """
    used = {name for name in fields.model_dump().values() if name} | {"metadata"}
    wanted = [name for name in (fields.access, fields.expires_at, fields.knowledge_base) if name]
    for key in record.keys() - used:
        same = next((name for name in wanted if own_keys.canonical(key) == own_keys.canonical(name)), None)
        meant = same or own_keys.meant_key(key, wanted)
        if meant is not None:
            raise ParseError(
                "invalid_metadata",
                f"the record must spell `{meant}` so, found {key!r}; correct it, or name it in `fields` of the source",
                access=() if meant == fields.access else stated_access(record, fields),
            )
    if own_keys.nested_access({"metadata": record.get("metadata")}):
        raise ParseError(
            "invalid_metadata",
            f"who may read the record must stand in `{fields.access}`, found it in `metadata`; move or rename it",
            access=(),
        )


def stated_access(record: Mapping[str, Any], fields: RecordFields) -> tuple[str, ...] | None:
    """Return the groups that a record names, None where it names none.

    Raises:
        ParseError: `invalid_metadata`: nobody can tell which.
    """
    return read_access(record.get(fields.access) if fields.access else None)


def record_key(record: Mapping[str, Any], fields: RecordFields) -> str:
    """Return the identifier of a record.

    Raises:
        ParseError: `invalid_metadata`: it has none that can name a document.
    """
    key = record.get(fields.id)
    if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
        raise ParseError("invalid_metadata", f"the record must have an id in `{fields.id}`, found {key!r}")
    try:
        str(key).encode()
    except UnicodeEncodeError as error:
        raise ParseError("invalid_metadata", f"the id must be valid Unicode, found {key!r}") from error
    return str(key)


def record_text(record: Mapping[str, Any], fields: RecordFields) -> str:
    """Return the text of a record, empty where it has none: what it says beside it must be heard all the same.

    Raises:
        ParseError: `invalid_metadata`: it is no text.
    """
    text = record.get(fields.text)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise ParseError("invalid_metadata", f"`{fields.text}` must be text, found a {type(text).__name__}")
    return text


def carried(record: Mapping[str, Any], fields: RecordFields) -> dict[str, Any]:
    """Return what the record says beside its text, under our names; nulls left out."""
    names = {name: getattr(fields, name) for name in _CARRIED}
    values = {name: record[field] for name, field in names.items() if field and record.get(field) is not None}
    if record.get("metadata") is not None:
        values["metadata"] = record["metadata"]
    return values


def record_hash(record: Mapping[str, Any], fields: RecordFields) -> str:
    """Return sha256 of text and details, without id and operation: equal for a record that only moved."""
    text = record.get(fields.text)
    details = carried(record, fields)
    return sha256(
        text if isinstance(text, str) else repr(text),
        json.dumps(details, sort_keys=True, default=str) if details else "",
    )


def check_operation(record: Mapping[str, Any], fields: RecordFields) -> None:
    """Refuse an operation that is not known.

    Raises:
        ParseError: `invalid_metadata`: the operation is none of those known.
    """
    _operation(record, fields)


def _operation(record: Mapping[str, Any], fields: RecordFields) -> str:
    operation = record.get(fields.operation)
    if operation is None:
        return "upsert"
    if isinstance(operation, str) and operation.lower() in REMOVES | UPSERTS:
        return operation.lower()
    words = ", ".join(sorted(REMOVES | UPSERTS))
    raise ParseError("invalid_metadata", f"`{fields.operation}` must be one of {words}, found {operation!r}")


def _text(value: object) -> str:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    try:
        return read_time("updated_at", value)
    except ParseError:  # the record is listed; fetching it gives the reason
        return None
