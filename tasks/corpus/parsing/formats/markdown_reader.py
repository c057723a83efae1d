"""Markdown as its readers see it: the text as it is written, without what no renderer shows.

Left out, and counted: comments, elements that `tasks.corpus.parsing.formats.hidden` says are not shown, scripts and
style sheets, definitions of links that nothing uses (`[//]: # (a remark)`), in MDX also `{/* a remark */}`. Code that
shows such mark-up keeps it. To tell what is hidden, the text becomes a page with a mark before each piece: for instance
`Hot <b hidden>cold</b> tea` becomes `<p>①Hot <b hidden>②③cold④</b>⑤ tea</p>`, and the pieces 2 to 4 go.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from html import escape
from itertools import accumulate, islice, takewhile
from typing import TYPE_CHECKING, Any

from lxml import etree
from lxml import html as lxml_html

from tasks.commonmark import block_parser
from tasks.corpus.parsing.clean import as_line_feeds
from tasks.corpus.parsing.decode import decode_text
from tasks.corpus.parsing.formats.hidden import hidden_elements
from tasks.corpus.parsing.formats.reading import Reading

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_ATTRIBUTE = r"\s+[A-Za-z_:][\w.:-]*(?:\s*=\s*(?:[^\s\"'=<>`]+|'[^']*'|\"[^\"]*\"))?"
_INLINE = re.compile(
    r"(?P<text>\\[!-/:-@\[-`{-~]|<[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*>)"
    r"|(?P<ticks>`+)"
    r"|(?P<remark><!--(?:-?>|.*?-->)|<\?.*?\?>|<!\[CDATA\[.*?\]\]>|<![A-Za-z][^>]*>)"
    rf"|(?P<tag></?[A-Za-z][A-Za-z0-9-]*(?:{_ATTRIBUTE})*\s*/?>)",
    re.S,
)
"""What of a paragraph is no plain text: by CommonMark 0.31, the leftmost first."""
_BLOCK = re.compile(
    r"(?P<remark><!--(?:-?>|.*?(?:--!?>|\Z))|<(?:[!?]|/(?![A-Za-z]))[^>]*(?:>|\Z)"
    r"|<(?P<kind>script|style)\b.*?(?:</(?P=kind)\s*>|\Z))"
    r"|(?P<tag></?[A-Za-z](?:[^>\"']|\"[^\"]*\"|'[^']*')*>)",
    re.S | re.I,
)
"""The same of a block of HTML: by what a browser makes of it."""
_MARK, _END = "\ue000", "\ue001"
_MARKED = re.compile(f"{_MARK}(\\d+){_END}")
_LABEL = re.compile(r"\[((?:[^\[\]\\]|\\.){1,999})\]", re.S)
_MDX_REMARK = re.compile(r"\{\s*/\*.*?\*/\s*\}", re.S)
_EMPTIED = re.compile(r"(?P<quote>[ \t>]*)(?:[-*+]|\d{1,9}[.)]|#{1,6})?[ \t]*")
"""What is left of a line whose every word went."""

Span = tuple[int, int]
Line = tuple[str, int]
"""A line of a block without what stands before it in a quotation or a list, and where it begins in the file."""


def read_markdown(data: bytes) -> Reading:
    """Read a Markdown file.

    Raises:
        ParseError: it can't be decoded.
    """
    text, num_hidden = without_unseen(decode_text(data))
    return Reading(text, "", num_hidden)


def read_mdx(data: bytes) -> Reading:
    """Read a file of MDX.

    Raises:
        ParseError: it can't be decoded.
    """
    text, num_hidden = without_unseen(decode_text(data), is_mdx=True)
    return Reading(text, "", num_hidden)


def without_unseen(text: str, *, is_mdx: bool = False) -> tuple[str, int]:
    """Return Markdown without what its readers never see, and how many characters that were."""
    text = as_line_feeds(text)
    page = _Page(text)
    definitions: dict[str, Any] = {}
    for token in _blocks(is_mdx).parse(text, definitions):
        page.add(token)
    unseen = [*page.unseen(), *_unused(text, page.starts, definitions)]
    if is_mdx:
        unseen += (match.span() for match in _MDX_REMARK.finditer(text) if not page.is_code(match.start()))
    return _without(text, _merged(unseen)) if unseen else (text, 0)


@cache
def _blocks(is_mdx: bool) -> "MarkdownIt":
    return block_parser(code_by_indentation=not is_mdx)  # MDX has none


class _Page:
    """The page that a renderer makes of a file, with a mark for each piece of it."""

    def __init__(self, text: str) -> None:
        self.starts = [0]
        for line in text.split("\n"):
            self.starts.append(self.starts[-1] + len(line) + 1)
        self._text = text
        self._html: list[str] = []
        self._pieces: list[Span] = []
        self._remarks: list[Span] = []
        self._code: list[Span] = []

    def add(self, token: "Token") -> None:
        """Add what a token of a block stands for."""
        first, last = token.map or (0, 0)
        if token.type == "inline":
            self._add_mark_up(_lines_of(self._text, self.starts, token), _INLINE)
        elif token.type == "html_block":
            self._add_mark_up(_lines_of(self._text, self.starts, token), _BLOCK)
        elif token.type in {"fence", "code_block"}:
            span = (self.starts[first], min(self.starts[last], len(self._text)))
            self._code.append(span)
            self._html.append(f"<pre>{self._marked(span)}</pre>")
        elif token.nesting:
            self._html.append(f"<{token.tag}>" if token.nesting > 0 else f"</{token.tag}>")

    def _add_mark_up(self, lines: Sequence[Line], pattern: re.Pattern[str]) -> None:
        source = _Source(lines)
        at = shown = 0
        while match := pattern.search(source.text, at):
            at = match.end()
            if match["remark"] is not None:
                self._add_text(source, shown, match.start(), pattern)
                self._remarks.append(source.span(*match.span()))
                self._html.append(match.group() if match.groupdict().get("kind") else "")
            elif match["tag"] is not None:
                self._add_text(source, shown, match.start(), pattern)
                mark = self._marked(source.span(*match.span()), "")
                self._html += [mark, match.group()] if match.group()[1] == "/" else [match.group(), mark]
            else:
                at = self._end_of_code(source, match)
                continue
            shown = at
        self._add_text(source, shown, len(source.text), pattern)

    def _add_text(self, source: "_Source", start: int, end: int, pattern: re.Pattern[str]) -> None:
        if start < end:
            text = source.text[start:end]
            self._html.append(self._marked(source.span(start, end), text if pattern is _BLOCK else escape(text)))

    def _end_of_code(self, source: "_Source", match: re.Match[str]) -> int:
        """Where a span of code ends that a run of backticks opens; behind the run where nothing closes it."""
        ticks = match.groupdict().get("ticks")
        if ticks is None:
            return match.end()
        closing = re.compile(f"(?<!`){ticks}(?!`)").search(source.text, match.end())
        if closing is None:
            return match.end()
        self._code.append(source.span(match.start(), closing.end()))
        return closing.end()

    def _marked(self, span: Span, text: str | None = None) -> str:
        self._pieces.append(span)
        shown = escape(self._text[slice(*span)]) if text is None else text
        return f"{_MARK}{len(self._pieces) - 1}{_END}{shown.replace(_MARK, '')}"

    def is_code(self, position: int) -> bool:
        """Return whether a character of the file is shown as code."""
        return any(start <= position < end for start, end in self._code)

    def unseen(self) -> Iterator[Span]:
        """Yield the spans of comments and of what stands in hidden elements, in no order."""
        yield from self._remarks
        parser = lxml_html.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, huge_tree=True)
        page = f"<html><body>{''.join(self._html)}</body></html>"
        try:
            root = lxml_html.document_fromstring(page.encode("utf-8", "replace"), parser=parser)
        except (etree.ParserError, etree.XMLSyntaxError, ValueError):
            return
        for text in _texts_within(root, {*hidden_elements(root, ""), *root.iter("script", "style")}):
            yield from (self._pieces[int(number)] for number in _MARKED.findall(text))


class _Source:
    """The lines of a block as one text, and where each of its characters stands in the file."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.text = "\n".join(line for line, _ in lines)
        self._file = [start for _, start in lines]
        self._block = [0, *accumulate(len(line) + 1 for line, _ in lines)]

    def span(self, start: int, end: int) -> Span:
        """Return the characters of the file from one to before another of the block; they are never none."""
        return self._place(start), self._place(end - 1) + 1

    def _place(self, position: int) -> int:
        line = bisect_right(self._block, position) - 1
        return self._file[line] + position - self._block[line]


def _lines_of(text: str, starts: Sequence[int], token: "Token") -> list[Line]:
    """The lines of a token, each where it stands in the file; a line that is written otherwise there as a whole."""
    first, last = token.map or (0, 0)
    lines: list[Line] = []
    for number, line in zip(range(first, last), token.content.split("\n"), strict=False):
        whole = text[starts[number] : starts[number + 1] - 1]
        ends_so = whole.rstrip().endswith(line.rstrip())
        at = len(whole.rstrip()) - len(line.rstrip()) if ends_so else whole.find(line)
        lines.append((line.rstrip(), starts[number] + at) if at >= 0 else (whole, starts[number]))
    return lines


def _texts_within(root: etree._Element, hidden: set[etree._Element]) -> Iterator[str]:
    """The texts in hidden elements, each once."""
    depth = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if event == "start":
            depth += element in hidden
            if depth and element.text:
                yield element.text
        else:
            depth -= element in hidden
            if depth and element.tail:
                yield element.tail


def _unused(text: str, starts: Sequence[int], parsed: dict[str, Any]) -> Iterator[Span]:
    """Definitions of links that no link uses, or that stand behind another one of the same name; notes stay."""
    from markdown_it.common.utils import normalizeReference

    references = parsed.get("references", {})
    repeated = [entry["map"] for entry in parsed.get("duplicate_refs", ())]
    places = [*repeated, *(each["map"] for each in references.values())]
    taken = {number for first, last in places for number in range(first, last)}
    rest = "\n".join(line for number, line in enumerate(text.split("\n")) if number not in taken)
    used = {normalizeReference(label) for label in _LABEL.findall(rest)} if taken else set()
    unused = [each["map"] for label, each in references.items() if label not in used and not label.startswith("^")]
    yield from ((starts[first], min(starts[last], len(text))) for first, last in [*repeated, *unused])


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _without(text: str, spans: Sequence[Span]) -> tuple[str, int]:
    """The text without spans, in order and apart, and how many characters they held."""
    kept: list[str] = []
    start = at = 0
    for line in text.split("\n"):
        end = start + len(line)
        while at < len(spans) and spans[at][1] <= start:
            at += 1
        if at == len(spans) or spans[at][0] >= max(end, start + 1):
            kept.append(line)
        elif spans[at][0] >= start or spans[at][1] < end:
            kept.append(_rest(text, (start, end), islice(spans, at, None)))
        start = end + 1
    return "\n".join(kept), sum(len(text[start:end].strip()) for start, end in spans)


def _rest(text: str, line: Span, spans: Iterable[Span]) -> str:
    """What is left of a line that the first of the spans touches, without the sign of an item that lost its words."""
    at, end = line
    parts = []
    for span_start, span_end in takewhile(lambda span: span[0] < end, spans):
        parts.append(text[at : max(at, span_start)])
        at = max(at, span_end)
    rest = "".join([*parts, text[at:end]])
    emptied = _EMPTIED.fullmatch(rest)
    return rest if emptied is None else emptied["quote"].rstrip()
