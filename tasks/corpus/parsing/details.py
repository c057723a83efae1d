"""What a source or a front-matter block may say of a document, checked value by value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from re import compile as pattern
from typing import Any

from tasks.corpus.parsing.clean import clean_line
from tasks.errors import ParseError
from tasks.use import USES, Use

RUNS = pattern(r"(?i:javascript|data|vbscript|blob|filesystem)\s*:")
"""An address of a program, which runs when it is opened."""
_NAME = pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}\Z")
_MAX_METADATA_CHARACTERS = 1000
_SECONDS_ABOVE = 1e8
_MILLISECONDS_ABOVE = 1e11
NEVER = datetime.max.replace(tzinfo=UTC)
"""The last moment that a timestamp holds: what is meant to be later ("never", in another zone) is this."""


@dataclass(frozen=True, slots=True)
class Details:
    """What a document says of itself; None: its source's setting holds.

    Attributes:
        access: groups that may read it; empty: nobody may.
        use: what for, where the source leaves it open.
    """

    title: str | None = None
    uri: str | None = None
    access: tuple[str, ...] | None = None
    use: Use = "both"
    knowledge_base: str | None = None
    updated_at: datetime | None = None
    expires_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_details(carried: Mapping[str, Any]) -> Details:
    """Check what a source or a front-matter block says; its access first, so that another fault does not hide it.

    Raises:
        ParseError: `invalid_metadata`: a value is of the wrong type.
    """
    if not carried:
        return Details()
    access = read_access(carried.get("access"))
    try:
        return Details(
            title=_line("title", carried.get("title")),
            uri=_uri(carried.get("uri")),
            access=access,
            use=read_use(carried.get("use")),
            knowledge_base=_knowledge_base(carried.get("knowledge_base")),
            updated_at=read_time("updated_at", carried.get("updated_at")),
            expires_at=read_time("expires_at", carried.get("expires_at")),
            metadata=_metadata(carried.get("metadata")),
        )
    except ParseError as error:
        raise ParseError(error.code, str(error), access=access if error.access is None else error.access) from error


def read_access(value: object) -> tuple[str, ...] | None:
    """Return the groups that may read a document; None where nothing is said.

    Raises:
        ParseError: `invalid_metadata`: what is said can't be understood; then nobody may.
    """
    if value is None:
        return None
    groups = [value] if isinstance(value, str) else value
    if not isinstance(groups, list | tuple) or not all(_is_name(group) for group in groups):
        error = invalid("access", "a list of group names (letters, digits, `_`, `.`, `-`)", value)
        raise ParseError(error.code, str(error), access=())
    return tuple(groups)


def read_use(value: object) -> Use:
    """Return what a document may be used for; `both` where nothing is said.

    Raises:
        ParseError: `invalid_metadata`: what is said can't be understood; then nobody may read it.
    """
    if value is None:
        return "both"
    use = next((use for use in USES if use == value), None)
    if use is None:
        error = invalid("use", f"one of {', '.join(USES)}", value)
        raise ParseError(error.code, str(error), access=())
    return use


def read_time(name: str, value: object) -> datetime | None:
    """Return a time with its zone from ISO 8601, seconds since 1970 or a date; without a zone it is UTC.

    A time whose UTC lies beyond the year 9999 is the last moment of it.

    Raises:
        ParseError: `invalid_metadata`: the value is no time.
    """
    if value is None or value == "":
        return None
    try:
        moment = parse_time(value)
    except (ValueError, OverflowError, OSError, TypeError) as error:
        raise invalid(name, "an ISO 8601 time", value) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        moment.astimezone(UTC)
    except OverflowError as error:
        if moment.year == datetime.max.year:
            return NEVER
        raise invalid(name, "a time from the year 1 on", value) from error
    return moment


def is_time(value: object) -> bool:
    """Whether a value that another tool wrote is a time."""
    try:
        return read_time("date", value) is not None
    except ParseError:
        return False


def parse_time(value: object) -> datetime:
    """Return the moment that a value names, with or without a zone."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_number(value)
    if isinstance(value, str):
        return datetime.fromisoformat(value.strip())
    raise ValueError("no time")


def _of_number(value: float) -> datetime:
    """Seconds or milliseconds since 1970, or a date without its dashes.

    For instance `20240131`; YAML makes 45000 of `12:30:00`, and `2024` is a year: neither is a moment of 1970.
    """
    if abs(value) > _SECONDS_ABOVE:
        return datetime.fromtimestamp(value / 1000 if value > _MILLISECONDS_ABOVE else value, UTC)
    if isinstance(value, int) and len(str(value)) == len("20240131"):
        return datetime.strptime(str(value), "%Y%m%d").replace(tzinfo=UTC)
    raise ValueError("no time")


def metadata_text(value: object) -> str:
    """Return a value of another tool as one line, '' where it is no text, number, date or list of them."""
    if isinstance(value, str | int | float | date):
        return clean_line(_shown(value))[:_MAX_METADATA_CHARACTERS]
    if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes | bytearray):
        entries = (_shown(entry) for entry in value if isinstance(entry, str | int | float))
        return clean_line(", ".join(entries))[:_MAX_METADATA_CHARACTERS]
    return ""


def _shown(value: object) -> str:
    try:
        return str(value)
    except ValueError:  # an integer of more digits than Python prints
        return ""


def _line(name: str, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise invalid(name, "text", value)
    return clean_line(_shown(value)) or None


def _uri(value: object) -> str | None:
    """Where the item can be read: it is handed to whoever shows a citation, so nothing that runs when it is opened."""
    line = _line("uri", value)
    if line is not None and RUNS.match(line):
        raise invalid("uri", "an address of a page or a path", value)
    return line


def _knowledge_base(value: object) -> str | None:
    if value is None or _is_name(value):
        return None if value is None else str(value)
    raise invalid("knowledge_base", "a name (letters, digits, `_`, `.`, `-`)", value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.match(value) is not None


def _metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise invalid("metadata", "a mapping", value)
    return {clean_line(str(key)): text for key, entry in value.items() if (text := metadata_text(entry))}


def invalid(name: str, expected: str, value: object) -> ParseError:
    """Return the error for a value that is not what its name demands."""
    shown = _shown(value)[:80]
    return ParseError("invalid_metadata", f"`{name}` must be {expected}, found {shown!r}; correct the item")
