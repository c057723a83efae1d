"""Front matter: YAML between `---` (closed by `---` or `...`), TOML between `+++`, a JSON object, Org and rst fields.

Fails closed: a document whose own statement of who may read it can't be understood is rejected, never shown to the
readers of its source. For instance `access: [hr]` in a block that is not closed, under `Access` beside `access`, or in
a block behind a licence in a comment: each is `invalid_metadata`, with nobody as its readers.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import takewhile
from typing import Any

from tasks.corpus.parsing import own_keys
from tasks.corpus.parsing.clean import as_line_feeds
from tasks.corpus.parsing.details import is_time, metadata_text, read_access
from tasks.errors import ParseError

_BLOCK = re.compile(
    r"(?:---[ \t]*\n(?P<yaml>.*?)^(?:---|\.\.\.)[ \t]*$|\+\+\+[ \t]*\n(?P<toml>.*?)^\+\+\+[ \t]*$)\n?", re.S | re.M
)
_LEADING = re.compile("(?:[\\s\ufeff\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f])*")
_COMMENT = re.compile(r"<!--(.*?)(?:-->|\Z)\s*", re.S)
_OPENING = re.compile(r"(?:---|\+\+\+)|[^\w\s`]+[ \t]*$", re.M)
_KEY_LINE = re.compile(r"[\"']?[^\W\d][\w-]*[\"']?[ \t]*[:=](?:\s|$)")
_HEADER_LINE = re.compile(r"\s+\S|-[ \t]|#|[\"'?\u200b]?[^\W\d][\w\u200b -]{0,40}[\"'\s]*[:=\uff1a]")
_GROUPS_VALUE = re.compile(r"[^:=\uff1a]*[:=\uff1a][ \t]*(?:\[.*|[\"']?[\w.-]*[\"']?(?:[ \t]*,[ \t]*[\w.-]+)*[ \t]*)$")
_ORG_KEYWORD = re.compile(r"#\+(?P<key>[^:\s]+):[ \t]*(?P<value>.*)$")
_ORG_PROPERTY = re.compile(r"\s*:[^:\s]+:(?:\s|$)")
_RST_FIELD = re.compile(r":(?P<key>[^:\n`]+):[ \t]*(?P<value>.*)$")
_META_NAME = re.compile(
    r"<meta\b[^>]{0,2000}?\b(?:name|property|itemprop)\s*=\s*[\"']?\s*(?P<name>[\w -]{1,40}?)\s*[\"'\s/>]", re.I
)
_LEADING_MARK_UP = re.compile(
    r"(?:\s*(?:<!--.*?-->|<head\b.*?</head\s*>|<(?:!doctype|\?xml|html|body|main|article|p|div|pre)\b[^>]*>))*",
    re.I | re.S,
)
_REMARKS = ("%", "#", "..", " ", "\t")
_IMPORTS = re.compile(r"(?:(?:import|export)\b[^\n]*\n\s*)+")
_HEAD_LINES = 100
_ADVICE = "write it as `access: [group]` in a block between two lines of `---` at the very beginning"


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Return the front matter under our names, and the text after it; without front matter: ({}, text).

    Raises:
        ParseError: `invalid_metadata`: the block can't be read, or leaves in doubt who may read the document.
    """
    whole = as_line_feeds(text)
    start = _end_of_match(_LEADING, whole)
    if whole.startswith("{", start):
        return _json_block(whole, start) or ({}, text)
    match = _BLOCK.match(whole, start)
    if match is None:
        _refuse_doubt(whole[start:])
        return {}, text
    block = match["yaml"] if match["yaml"] is not None else match["toml"]
    values = _load_yaml(block) if match["yaml"] is not None else _load_toml(block)
    lines = [line for line in block.split("\n") if not line.lstrip().startswith("#")]
    if values is not None and not isinstance(values, dict):  # two horizontal rules around a sentence
        _refuse_access_in(lines)
        return {}, text
    values = values or {}
    naming = [line for line in lines if own_keys.line_names_access(line)]
    if len(naming) > sum(own_keys.canonical(key) == "access" for key in values):
        raise _doubt("found a line that says it elsewhere")
    carried, rest = as_carried(values), whole[match.end() :]
    _refuse_doubt(rest[_end_of_match(_LEADING, rest) :])
    return carried, rest


def split_org_keywords(text: str) -> tuple[dict[str, Any], str]:
    """Return what the keywords at the head of an Org file say (`#+access: hr`), and the text, which keeps them.

    Raises:
        ParseError: `invalid_metadata`: a drawer says who may read it: no reader of Org takes that for the file's own.
    """
    _refuse_access_in([line for line in _head(text) if _ORG_PROPERTY.match(line)])
    return _own_fields(_ORG_KEYWORD, text), text


def split_docinfo(text: str) -> tuple[dict[str, Any], str]:
    """Return what the field list at the head of a reStructuredText file says (`:access: hr`), and the text as it is."""
    return _own_fields(_RST_FIELD, text), text


def refuse_access_in_comments(text: str) -> None:
    """Refuse a text whose first lines are remarks (`%`, `#`, `..`), one of which names groups that may read it.

    Raises:
        ParseError: `invalid_metadata`: with nobody as its readers.
    """
    head = takewhile(lambda line: not line.strip() or line.startswith(_REMARKS), _head(text))
    remarks = (line for line in head if not line.startswith("#+"))  # a keyword of Org, which is read
    _refuse_access_in([line for line in remarks if _GROUPS_VALUE.match(line.lstrip(": \t"))])


def refuse_access_in_page(page: str) -> None:
    """Refuse an HTML page that says who may read it where it is not read: in `meta`, or in a block behind the doctype.

    Raises:
        ParseError: `invalid_metadata`: with nobody as its readers.
    """
    head = page[: _HEAD_LINES * 500]
    for match in _META_NAME.finditer(head):
        if own_keys.line_names_access(f"{match['name']}:"):
            raise _doubt(f"found it in `<meta name={match['name'].strip()!r}>`")
    refuse_unread_access(head[_end_of_match(_LEADING_MARK_UP, head) :])


def refuse_unread_access(text: str) -> None:
    """Refuse a text that begins with a block that states access where none is read (a Word file, a record's text).

    Raises:
        ParseError: `invalid_metadata`: with nobody as its readers.
    """
    whole = as_line_feeds(text[: _HEAD_LINES * 200])
    start = _end_of_match(_LEADING, whole)
    block = _BLOCK.match(whole, start)
    if block is not None:
        _refuse_access_in((block["yaml"] or block["toml"] or "").split("\n"))


def as_carried(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return front-matter values under our names; keys of others (tags, author) become metadata.

    Raises:
        ParseError: `invalid_metadata`: a key of ours stands twice or is misspelt.
    """
    by_key = _by_canonical(values)
    access = _stated_access(by_key, values)
    for key in by_key:
        meant = own_keys.meant_key(key)
        if meant is not None and key != meant:
            raise ParseError(
                "invalid_metadata",
                f"the front matter must spell `{meant}` so, found {key!r}; correct it",
                access=access,
            )
    carried: dict[str, Any] = {key: by_key[key] for key in own_keys.OWN_KEYS if by_key.get(key) is not None}
    for name, aliases in own_keys.DATE_KEYS.items():
        for alias in aliases:
            if by_key.get(alias) is not None and (alias not in {"date", "lastmod"} or is_time(by_key[alias])):
                carried[name] = by_key[alias]
                break
    others = _others(values)
    own = carried.get("metadata", {})
    if others and isinstance(own, Mapping):
        carried["metadata"] = others | dict(own)
    return carried


def _by_canonical(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Values by canonical key; keys of ours must not meet (`Access` beside `access`)."""
    by_key: dict[str, Any] = {}
    for key, value in values.items():
        name = own_keys.canonical(key)
        if name in by_key and name in own_keys.OWN_KEYS.union(*own_keys.DATE_KEYS.values()):
            raise _twice(name)
        by_key[name] = value
    return by_key


def _stated_access(by_key: Mapping[str, Any], values: Mapping[Any, Any]) -> tuple[str, ...] | None:
    for key in by_key:
        if key != "access" and own_keys.meant_key(key) == "access":
            raise _doubt(f"found the key {key!r}")
    if "access" in by_key and by_key["access"] is None:
        raise _doubt("found `access` without a value")
    others = {key: value for key, value in values.items() if own_keys.canonical(key) != "access"}
    if any(map(own_keys.nested_access, others.values())):
        raise _doubt("found it inside another key")
    return read_access(by_key.get("access"))


def _others(values: Mapping[Any, Any]) -> dict[str, str]:
    known = own_keys.OWN_KEYS.union(*own_keys.DATE_KEYS.values())
    return {
        str(key): text
        for key, value in values.items()
        if own_keys.canonical(key) not in known and (text := metadata_text(value))
    }


# --- what is in doubt ---


def _refuse_doubt(text: str) -> None:
    """Refuse a text whose head looks like front matter that was not read, and says who may read."""
    while comment := _COMMENT.match(text):
        _refuse_access_in(comment[1].split("\n"))
        text = text[comment.end() :]
    if imports := _IMPORTS.match(text):  # of MDX
        text = text[imports.end() :]
    lines = text[: _HEAD_LINES * 500].split("\n")[:_HEAD_LINES]
    if _OPENING.match(text):
        head = [lines[0].lstrip("-+ \t"), *takewhile(lambda line: not _closes(line), lines[1:])]
        _refuse_access_in(head)
        following = next((line for line in head[1:] if line.strip() and not line.startswith("#")), "")
        if text.startswith(("---", "+++")) and lines[0].strip("-+ \t") == "" and _looks_unclosed(lines, following):
            raise _doubt("found a block that is not closed")
    else:
        header = list(takewhile(lambda line: not line.strip() or _HEADER_LINE.match(line) is not None, lines))
        if not any(map(_closes, lines[len(header) : len(header) + 1])):  # no block that lost its first line
            header = list(takewhile(str.strip, header))
        _refuse_access_in([line for line in header if _GROUPS_VALUE.match(line) and not line.startswith("#")])


def _looks_unclosed(lines: Sequence[str], following: str) -> bool:
    """`---`, then at once a line `key: …`: where such lines end at a blank one, no rule was drawn above a sentence."""
    return lines[0].strip() in {"---", "+++"} and _KEY_LINE.match(following) is not None


def _closes(line: str) -> bool:
    """Any line of signs alone: an editor makes a dash of `---`."""
    return bool(line.strip()) and not any(map(str.isalnum, line))


def _refuse_access_in(lines: Sequence[str]) -> None:
    if any(map(own_keys.line_names_access, lines)):
        raise _doubt("found a line that says it elsewhere")


def _doubt(problem: str) -> ParseError:
    return ParseError("invalid_metadata", f"who may read the item must be clear, {problem}; {_ADVICE}", access=())


def _twice(name: str) -> ParseError:
    return ParseError(
        "invalid_metadata",
        f"each key must stand once, found `{name}` twice; remove one of them",
        access=() if name == "access" or own_keys.meant_key(name) == "access" else None,
    )


# --- the notations ---


def _json_block(text: str, start: int) -> tuple[dict[str, Any], str] | None:
    """A JSON object before the text, as Hugo reads it; another object is text."""
    try:
        values, end = json.JSONDecoder(object_pairs_hook=once_each).raw_decode(text, start)
    except (ValueError, RecursionError):
        _refuse_access_in(re.split(r"[\n,{]", text[start : start + 20_000]))
        return None
    if not any(own_keys.canonical(key) in own_keys.OWN_KEYS or own_keys.meant_key(key) for key in values):
        if own_keys.nested_access(values):
            raise _doubt("found it inside another key")
        return None
    return as_carried(values), text[end:]


def once_each(pairs: Sequence[tuple[str, Any]], *, access_key: str = "access") -> dict[str, Any]:
    """Return the pairs of a JSON object as a dictionary.

    Raises:
        ParseError: `invalid_metadata`: a key stands twice; nobody may read the item where it is `access_key`.
    """
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise _twice("access" if key == access_key else key)
        values[key] = value
    return values


def _own_fields(field: re.Pattern[str], text: str) -> dict[str, Any]:
    """Our keys among the fields in the first lines; the fields of other tools are left alone."""
    found: dict[str, Any] = {}
    for line in _head(text):
        match = field.match(line)
        if match is None:
            continue
        name = own_keys.canonical(match["key"])
        if name != "access" and own_keys.meant_key(match["key"]) == "access":
            raise _doubt(f"found the key {name!r}")
        if name == "access":
            if name in found:
                raise _twice(name)
            value = _load_yaml(match["value"])
            found[name] = value if not isinstance(value, str) else [part.strip() for part in value.split(",")]
            if found[name] is None:
                raise _doubt("found `access` without a value")
    return found


def _head(text: str) -> list[str]:
    return as_line_feeds(text[: _HEAD_LINES * 500]).split("\n")[:_HEAD_LINES]


def _load_yaml(block: str) -> object:
    import yaml

    try:
        loader = _yaml_loader()(block)
        try:
            node = loader.get_single_node()
            _refuse_twins(node)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        problem = " ".join(str(error).split())[:200]
        message = f"the front matter must be valid YAML, found: {problem}"
        raise ParseError("invalid_metadata", message, access=()) from error


def _refuse_twins(root: Any) -> None:
    """YAML takes the last of two equal keys without a word: after a careless merge that may be the wider one."""
    import yaml

    pending, visited = [root], set()
    while pending:
        node = pending.pop()
        if id(node) in visited:  # an alias
            continue
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
        elif isinstance(node, yaml.MappingNode):
            _refuse_twin_keys([key.value for key, _value in node.value])
            pending += [value for _key, value in node.value]


def _refuse_twin_keys(keys: Sequence[object]) -> None:
    names = [own_keys.canonical(key) for key in keys if isinstance(key, str) and key != "<<"]
    twin = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twin is not None:
        raise _twice(twin)


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
        message = f"the front matter must be valid TOML, found: {error}"
        raise ParseError("invalid_metadata", message, access=()) from error


def _end_of_match(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.match(text)
    return match.end() if match else 0
