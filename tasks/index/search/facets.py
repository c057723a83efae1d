r"""A document's metadata as one column that a typed filter can look into.

Each field is `key=value` between two separators that no value holds, so that `contains` compares whole fields: for
instance `{"team": "pay", "tags": ["a", "b"]}` gives `␟team=pay␟tags=a␟tags=b␟`, and `team=pa` is not in it.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

SEPARATOR = "\x1f"
MAX_VALUE_CHARACTERS = 200


def facet(key: str, value: str) -> str:
    """Return what the column of a document with this field contains."""
    return f"{SEPARATOR}{_plain(key)}={_plain(value)}{SEPARATOR}"


def facets_of(metadata: str) -> str:
    """Return the column's text for a document's metadata, a JSON object; empty where there is none."""
    fields = json.loads(metadata) if metadata else {}
    if not isinstance(fields, Mapping):
        return ""
    parts = [f"{_plain(str(key))}={_plain(text)}" for key, value in fields.items() for text in _values(value)]
    return SEPARATOR.join(["", *dict.fromkeys(parts), ""]) if parts else ""


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for entry in value:
            yield from _values(entry)
    elif isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, str | int | float):
        yield str(value)


def _plain(text: str) -> str:
    return text.replace(SEPARATOR, " ").strip()[:MAX_VALUE_CHARACTERS]
