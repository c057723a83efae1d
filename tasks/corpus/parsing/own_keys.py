"""The keys by which a document says things of itself, and what looks like one of them without being one.

A key that a hurried author wrote in capitals or with blanks around is that key. One that is misspelt, or stands where
it is not read, leaves in doubt who may read the document: the caller shows it to nobody.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

OWN_KEYS = frozenset({"title", "uri", "access", "use", "knowledge_base", "metadata"})
DATE_KEYS: Mapping[str, tuple[str, ...]] = {
    "updated_at": ("updated_at", "lastmod", "date"),
    "expires_at": ("expires_at", "expires", "expirydate"),
}
_MEANT_AS_ACCESS = frozenset(
    {"acl", "allowedgroups", "allowedreaders"}
    | {f"access{word}" for word in ("control", "group", "groups", "level", "list", "right", "rights", "role", "roles")}
)
_MIN_LETTERS_TO_MISSPELL = 6
_LOOKALIKES = str.maketrans("асеѕαϲεⅽ", "acesacec")
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
_KEY_OF_LINE = re.compile("[\\W_]*(?P<key>\\w[\\w \t\u200b-\u200f\u2060\ufeff-]{0,40}?)[\"'\\s*_`]*[:=\uff1a\ua789]")


def canonical(key: object) -> str:
    """Return a key without what a reader does not see: case, blanks around it, invisible characters, `-` for `_`."""
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", str(key))).strip().casefold()
    return re.sub(r"[\s-]+", "_", text)


def meant_key(
    key: object, keys: Iterable[str] = ("access", "knowledge_base", "updated_at", "expires_at")
) -> str | None:
    """Return the one of `keys` for which a key was probably meant, though it is written otherwise; None: for none."""
    letters = _letters(key)
    if "access" in keys and letters in _MEANT_AS_ACCESS:
        return "access"
    for own in keys:
        plain = _letters(own)
        same = letters == plain or _squeezed(letters) == _squeezed(plain)
        if same or (len(plain) >= _MIN_LETTERS_TO_MISSPELL and is_one_slip_away(letters, plain)):
            return own
    return None


def is_one_slip_away(typed: str, meant: str) -> bool:
    """Whether one letter was left out, put in, replaced, or swapped with its neighbour."""
    if abs(len(typed) - len(meant)) > 1 or typed == meant:
        return False
    start = next((at for at, (one, other) in enumerate(zip(typed, meant, strict=False)) if one != other), None)
    if start is None:
        return True
    rest, wanted = typed[start:], meant[start:]
    swapped = len(rest) > 1 and rest[1] + rest[0] + rest[2:] == wanted
    return swapped or rest[1:] == wanted[1:] or rest[1:] == wanted or rest == wanted[1:]


def line_names_access(line: str) -> bool:
    """Whether a line reads like `access: …`, however it is indented, quoted or spelt."""
    match = _KEY_OF_LINE.match(line[:200])
    return match is not None and (canonical(match["key"]) == "access" or meant_key(match["key"]) == "access")


def nested_access(value: Any) -> bool:
    """Whether a mapping inside a value has a key that reads like `access`, or a text in it a line that does."""
    pending, visited = [value], set()
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            if "\n" in value and any(map(line_names_access, value.split("\n"))):
                return True
        elif isinstance(value, Mapping | list | tuple) and id(value) not in visited:  # an alias may stand often
            visited.add(id(value))
            if isinstance(value, Mapping) and any(
                canonical(key) == "access" or meant_key(key, ("access",)) for key in value
            ):
                return True
            pending += value.values() if isinstance(value, Mapping) else value
    return False


def _squeezed(letters: str) -> str:
    """Letters without repeats: which of them are double is what people misspell (`acesss`)."""
    return re.sub(r"(.)\1+", r"\1", letters)


def _letters(key: object) -> str:
    return re.sub(r"[^a-z0-9]", "", canonical(key).translate(_LOOKALIKES))
