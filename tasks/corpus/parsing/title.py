"""The title of a Markdown text: its first heading, as the parser that cuts chunks sees headings.

Inside a fence, a list or a quotation there is none; `<h1>` in HTML counts like `#`.
"""

import re
from collections.abc import Sequence
from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from tasks.commonmark import block_parser, compiled
from tasks.corpus.parsing.clean import clean_line

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_WITHIN = (2_000, 20_000)
"""Characters at the beginning that are parsed: first few, since most titles stand at once."""
_ANCHOR = re.compile(r"[ \t]*\{[#.:][^}]*\}[ \t]*$")
_HEADINGS = {f"h{level}" for level in range(1, 7)}


def first_heading(text: str) -> str:
    """Return the words of the first heading that has any, '' where there is none near the beginning."""
    for limit in _WITHIN:
        if title := _heading_of(_whole_lines(text, limit)):
            return title
        if len(text) <= limit:
            break
    return ""


def _whole_lines(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: text.rfind("\n", 0, limit) + 1] or text[:limit]


def _heading_of(text: str) -> str:
    tokens = _blocks().parse(text)
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        words = ""
        if token.type == "heading_open" and token.level == 0 and following is not None:
            words = _words(_inline().parseInline(_ANCHOR.sub("", following.content))[0].children or ())
        elif token.type == "html_block" and token.level == 0:
            words = _html_heading(token.content)
        if title := clean_line(words):
            return title
    return ""


def _words(tokens: "Sequence[Token]") -> str:
    """The words of a heading without its pictures, marks and HTML tags."""
    parts = {"softbreak": " ", "hardbreak": " "}
    return "".join(
        token.content if token.type in {"text", "code_inline"} else parts.get(token.type, "") for token in tokens
    )


class _HeadingParser(HTMLParser):
    """Collects the words of the first heading that has any."""

    def __init__(self) -> None:
        super().__init__()
        self.words = ""
        self._open: str | None = None
        self._done = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 (the interface)
        if tag in _HEADINGS and not self._done:
            self._open, self.words = tag, ""

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            self._open, self._done = None, bool(self.words.strip())

    def handle_data(self, data: str) -> None:
        if self._open:
            self.words += data


def _html_heading(html: str) -> str:
    parser = _HeadingParser()
    parser.feed(html)
    parser.close()
    return parser.words


@cache
def _blocks() -> "MarkdownIt":
    return block_parser()


@cache
def _inline() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    return compiled(MarkdownIt("commonmark"))
