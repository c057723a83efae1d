"""The structure of a Markdown text: where its blocks, code, prose and links stand, and a tree that is safe to show.

The parse decides, never a search for signs: code is what CommonMark calls code. HTML is off in the parser, so that a
tag is text like any other; pictures are left out of the tree, and a link is one only where its address is allowed.
Offsets are characters of the text as it was given.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tasks.commonmark import compiled

BlockKind = Literal["paragraph", "item", "heading", "row", "code"]
Node: TypeAlias = "Mapping[str, str | int | bool | Sequence[Node]]"

_LINE_END = re.compile(r"\r\n?|\n")
_BACKTICKS = re.compile(r"`+")
_LINK_TARGET = re.compile(r"\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+\"[^\"]*\")?\)|<https?://[^>\s]*>")
_PICTURE = re.compile(r"!\[(?P<alt>[^\[\]]*)\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\[\]]*\])")
_SAFE_SCHEMES = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Block:
    """A leaf of the text's structure.

    Attributes:
        kind: `item`: a paragraph within a list; `row`: a line of a table's body; `code`: a fence or indented lines.
        start: first character of its content, behind list signs and quote signs; of code: of its first line.
        end: behind its last character.
    """

    kind: BlockKind
    start: int
    end: int


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    return compiled(MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]))


def blocks(text: str) -> list[Block]:
    """Return the leaves of a text, in order."""
    lines = _lines(text)
    leaves: list[Block] = []
    opener, list_depth, header = "", 0, False
    for token in _parser().parse(text):
        if token.type in ("list_item_open", "list_item_close"):
            list_depth += token.nesting
        elif token.type in ("thead_open", "thead_close"):
            header = token.nesting == 1
        elif token.type in ("fence", "code_block") and token.map:
            leaves.append(_code(lines, token.map))
        elif token.type == "tr_open" and token.map and not header:
            leaves.append(_row(text, lines, token.map[0]))
        elif token.type in ("paragraph_open", "heading_open", "td_open", "th_open"):
            opener = token.type
        elif token.type == "inline" and token.map and opener in ("paragraph_open", "heading_open"):
            kind: BlockKind = "heading" if opener == "heading_open" else "item" if list_depth else "paragraph"
            leaves.append(_prose(kind, text, lines, token))
    return leaves


def _lines(text: str) -> list[tuple[int, int]]:
    """Start and end of each line, without its line end."""
    ends = [match.span() for match in _LINE_END.finditer(text)]
    starts = [0, *(end for _, end in ends)]
    return list(zip(starts, [*(start for start, _ in ends), len(text)], strict=True))


def _code(lines: Sequence[tuple[int, int]], rows: Sequence[int]) -> Block:
    first, last = rows[0], min(rows[1], len(lines)) - 1
    return Block("code", lines[first][0], max(lines[first][0], lines[last][1]))


def _row(text: str, lines: Sequence[tuple[int, int]], number: int) -> Block:
    start, end = lines[number]
    line = text[start:end]
    return Block("row", start + len(line) - len(line.lstrip()), start + len(line.rstrip()))


def _prose(kind: BlockKind, text: str, lines: Sequence[tuple[int, int]], token: Token) -> Block:
    """From the first to the last line of an inline token; its content lacks the signs before it (`> - `)."""
    content = _LINE_END.split(token.content)
    first = (token.map or [0, 0])[0]
    last = min(first + len(content), len(lines)) - 1
    start = _aligned(text, lines[first], content[0])
    return Block(kind, start[0], max(start[0], _aligned(text, lines[last], content[-1])[1]))


def _aligned(text: str, line: tuple[int, int], content: str) -> tuple[int, int]:
    """Where the content of a line stands in it."""
    wanted = content.strip()
    place = text.rfind(wanted, *line) if wanted else line[1]
    return (line[0], line[1]) if place < 0 else (place, place + len(wanted))


def code_ranges(text: str) -> list[tuple[int, int]]:
    """Every stretch of code, blocks and spans, in order."""
    ranges: list[tuple[int, int]] = []
    for block in blocks(text):
        if block.kind == "code":
            ranges.append((block.start, block.end))
        else:
            ranges.extend(code_spans(text, block.start, block.end))
    return ranges


def code_spans(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Code spans of a stretch of prose: a run of backticks closes at the next run of its length, as CommonMark says."""
    runs = [match for match in _BACKTICKS.finditer(text, start, end) if not _escaped(text, match.start())]
    spans: list[tuple[int, int]] = []
    place = 0
    while place < len(runs):
        length = len(runs[place].group())
        closing = next((n for n in range(place + 1, len(runs)) if len(runs[n].group()) == length), None)
        if closing is None:
            place += 1
            continue
        spans.append((runs[place].start(), runs[closing].end()))
        place = closing + 1
    return spans


def _escaped(text: str, place: int) -> bool:
    before = text[:place]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def opaque_ranges(text: str) -> list[tuple[int, int]]:
    """Code, and the addresses of links: no marker stands there."""
    code = code_ranges(text)
    targets = [(match.start() + 1, match.end()) for match in _LINK_TARGET.finditer(text)]
    return sorted(code + targets)


def to_tree(text: str, allowed_urls: Collection[str] = ()) -> list[Node]:
    """Return a tree to show a text by, without HTML: each node a type, its text or children, and what the type needs.

    Types: `heading` (`level`), `paragraph`, `list` (`ordered`, `start`), `item`, `quote`, `table`, `row` (`header`),
    `cell`, `rule`, `code_block` (`language`, `text`), `text`, `code`, `emphasis`, `strong`, `deleted`, `break`,
    `link` (`url`).

    Args:
        text: Markdown of whatever origin.
        allowed_urls: addresses that a passage holds; another link is shown as its text.
    """
    return _children(iter(_parser().parse(text)), frozenset(allowed_urls), None)


_CONTAINERS = {
    "paragraph": "paragraph",
    "bullet_list": "list",
    "ordered_list": "list",
    "list_item": "item",
    "blockquote": "quote",
    "table": "table",
    "thead": "",
    "tbody": "",
    "tr": "row",
    "th": "cell",
    "td": "cell",
    "em": "emphasis",
    "strong": "strong",
    "s": "deleted",
}


def _children(tokens: Iterator[Token], allowed: frozenset[str], closing: str | None) -> list[Node]:
    nodes: list[Node] = []
    for token in tokens:
        if token.type == closing:
            break
        if token.type.endswith("_open"):
            nodes.extend(_container(token, _children(tokens, allowed, f"{token.type[:-5]}_close"), allowed))
        elif token.type == "inline":
            nodes.extend(_children(iter(token.children or []), allowed, None))
        else:
            nodes.extend(_leaf(token))
    return nodes


def _container(token: Token, children: list[Node], allowed: frozenset[str]) -> list[Node]:
    name = token.type[:-5]
    if name == "heading":
        return [{"type": "heading", "level": int(token.tag[1:]), "children": children}]
    if name == "link":
        url = str(token.attrGet("href") or "")
        return [{"type": "link", "url": url, "children": children}] if is_allowed(url, allowed) else children
    kind = _CONTAINERS.get(name, "")
    if not kind:
        return children
    node: dict[str, str | int | bool | Sequence[Node]] = {"type": kind, "children": children}
    if kind == "list":
        node |= {"ordered": name == "ordered_list", "start": int(token.attrGet("start") or 1)}
    if name in ("th", "td"):
        node |= {"header": name == "th"}
    return [node]


def _leaf(token: Token) -> list[Node]:
    if token.type in ("fence", "code_block"):
        language = token.info.split()[0] if token.info.split() else ""
        return [{"type": "code_block", "language": language, "text": token.content}]
    if token.type == "hr":
        return [{"type": "rule"}]
    if token.type in ("softbreak", "hardbreak"):
        return [{"type": "break"} if token.type == "hardbreak" else {"type": "text", "text": "\n"}]
    if token.type == "code_inline":
        return [{"type": "code", "text": token.content}]
    # A picture would tell its host who reads this: only its description is shown.
    return [{"type": "text", "text": token.content}] if token.content else []


def is_allowed(url: str, allowed: Collection[str]) -> bool:
    """Return whether a link may be one: a web address that a passage holds, its trailing slash aside."""
    return url.startswith(_SAFE_SCHEMES) and (
        url in allowed or url.rstrip("/") in {each.rstrip("/") for each in allowed}
    )


def urls(texts: Sequence[str]) -> frozenset[str]:
    """Return the web addresses that stand in texts."""
    return frozenset(
        match.group().rstrip(".,;:!?'\"")
        for text in texts
        for match in re.finditer(r"https?://[^\s<>()\[\]`\"]+", text)
    )


def escaped(text: str) -> str:
    """Return plain text as Markdown that shows it as it is, on one line; a `_` between letters stands for itself."""
    return re.sub(r"[\\`*\[\]<>#|~!]|_+", _escape, " ".join(text.split()))


def _escape(match: re.Match[str]) -> str:
    beside = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    if match.group()[0] == "_" and all(char.isalnum() for char in beside):
        return match.group()
    return "".join(f"\\{sign}" for sign in match.group())


def without_pictures(text: str) -> str:
    """Return a text with each picture outside code replaced by its description; a picture tells its host who reads."""
    hidden = code_ranges(text)
    for match in reversed(list(_PICTURE.finditer(text))):
        if not any(start <= match.start() < end for start, end in hidden):
            text = text[: match.start()] + match["alt"] + text[match.end() :]
    return text
