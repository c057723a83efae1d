"""Front matter (YAML between `---`, TOML between `+++`) and what a source may say about a document.

Fails closed: a document whose own statement of who may read it can't be understood is rejected, never shown to the
readers of its source.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import cache
from typing import Any

from tasks.corpus.parsing.clean import clean_line
from tasks.errors import ParseError

_BLOCK = re.compile(
    r"\A(?:---[ \t]*\n(?P<yaml>.*?)^---[ \t]*$|\+\+\+[ \t]*\n(?P<toml>.*?)^\+\+\+[ \t]*$)\n?", re.S | re.M
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}\Z")
_MAX_METADATA_CHARACTERS = 1000
_MILLISECONDS_ABOVE = 1e11

_OWN_KEYS = {"title", "uri", "access", "knowledge_base", "metadata"}
_DATE_KEYS = {"updated_at": ("updated_at", "lastmod", "date"), "expires_at": ("expires_at", "expires")}


@dataclass(frozen=True, slots=True)
class Details:
    """What a document says of itself; None: its source's setting holds.

    Attributes:
        access: groups that may read it; empty: nobody may.
    """

    title: str | None = None
    uri: str | None = None
    access: tuple[str, ...] | None = None
    knowledge_base: str | None = None
    updated_at: datetime | None = None
    expires_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The front matter as `Details` knows it, and the text after it; no front matter: ({}, text).

    Raises:
        ParseError: `invalid_metadata`: the block is not valid YAML or TOML.
    """
    if not text.startswith(("---", "+++")):
        return {}, text
    match = _BLOCK.match(text)
    if match is None:
        return {}, text
    found = _load_yaml(match["yaml"]) if match["yaml"] is not None else _load_toml(match["toml"])
    if found is None:
        return {}, text[match.end() :]
    if not isinstance(found, dict):  # two horizontal rules around a sentence
        return {}, text
    return _as_carried(found), text[match.end() :]


def read_details(carried: Mapping[str, Any]) -> Details:
    """Check what a source or a front-matter block says.

    Raises:
        ParseError: `invalid_metadata`: a value is of the wrong type.
    """
    if not carried:
        return Details()
    return Details(
        title=_line("title", carried.get("title")),
        uri=_line("uri", carried.get("uri")),
        access=_access(carried.get("access")),
        knowledge_base=_knowledge_base(carried.get("knowledge_base")),
        updated_at=read_time("updated_at", carried.get("updated_at")),
        expires_at=read_time("expires_at", carried.get("expires_at")),
        metadata=_metadata(carried.get("metadata")),
    )


def read_time(name: str, value: object) -> datetime | None:
    """A timezone-aware time from ISO 8601, seconds since 1970 or a date; without a zone it is UTC.

    Raises:
        ParseError: `invalid_metadata`: the value is no time.
    """
    if value is None or value == "":
        return None
    try:
        found = _time(value)
    except (ValueError, OverflowError, OSError) as error:
        raise _invalid(name, "an ISO 8601 time", value) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _time(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / 1000 if value > _MILLISECONDS_ABOVE else value, UTC)
    if isinstance(value, str):
        return datetime.fromisoformat(value.strip())
    raise ValueError("no time")


def _as_carried(found: Mapping[Any, Any]) -> dict[str, Any]:
    """Front-matter keys under our names; keys of others (tags, author) become metadata."""
    carried: dict[str, Any] = {key: found[key] for key in _OWN_KEYS if found.get(key) is not None}
    for name, aliases in _DATE_KEYS.items():
        for alias in aliases:
            if found.get(alias) is not None and (alias not in {"date", "lastmod"} or _is_time(found[alias])):
                carried[name] = found[alias]
                break
    known = _OWN_KEYS.union(*_DATE_KEYS.values())
    others = {str(key): text for key, value in found.items() if key not in known and (text := _metadata_text(value))}
    own = carried.get("metadata", {})
    if others and isinstance(own, Mapping):
        carried["metadata"] = others | dict(own)
    return carried


def _is_time(value: object) -> bool:
    """Site generators write anything into `date`; only our own keys must be right."""
    try:
        _time(value)
    except (ValueError, OverflowError, OSError):
        return False
    return True


def _load_yaml(block: str) -> object:
    import yaml

    try:
        return yaml.load(block, Loader=_yaml_loader())  # noqa: S506 (a safe loader)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        problem = " ".join(str(error).split())[:200]
        raise ParseError("invalid_metadata", f"the front matter must be valid YAML, found: {problem}") from error


@cache
def _yaml_loader() -> Any:
    """The safe loader in C where it is built in, with dates left as text: a wrong date is then a message, no crash."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    resolvers = {
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in base.yaml_implicit_resolvers.items()
    }
    return type("FrontMatterLoader", (base,), {"yaml_implicit_resolvers": resolvers})


def _load_toml(block: str) -> object:
    try:
        return tomllib.loads(block)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ParseError("invalid_metadata", f"the front matter must be valid TOML, found: {error}") from error


def _line(name: str, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _invalid(name, "text", value)
    return clean_line(str(value)) or None


def _access(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    groups = [value] if isinstance(value, str) else value
    if not isinstance(groups, list | tuple) or not all(_is_name(group) for group in groups):
        raise _invalid("access", "a list of group names (letters, digits, `_`, `.`, `-`)", value)
    return tuple(groups)


def _knowledge_base(value: object) -> str | None:
    if value is None or _is_name(value):
        return None if value is None else str(value)
    raise _invalid("knowledge_base", "a name (letters, digits, `_`, `.`, `-`)", value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.match(value) is not None


def _metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _invalid("metadata", "a mapping", value)
    return {clean_line(str(key)): text for key, entry in value.items() if (text := _metadata_text(entry))}


def _metadata_text(value: object) -> str:
    if isinstance(value, str | int | float | date):
        return clean_line(str(value))[:_MAX_METADATA_CHARACTERS]
    if isinstance(value, Iterable) and not isinstance(value, Mapping):
        entries = (str(entry) for entry in value if isinstance(entry, str | int | float))
        return clean_line(", ".join(entries))[:_MAX_METADATA_CHARACTERS]
    return ""


def _invalid(name: str, expected: str, value: object) -> ParseError:
    return ParseError("invalid_metadata", f"`{name}` must be {expected}, found {str(value)[:80]!r}; correct the item")
