"""Where sentences end: in prose that a person or a model wrote, and in Markdown documents line by line."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_SENTENCE_END = re.compile(
    r"(?<=[.!?])[\"'\u201d\u2019)*`]*\s+(?=[\"'\u201c\u2018(*`\[]*[A-Z0-9])|(?<=[\u3002\uff01\uff1f])"
)
_PROSE_END = re.compile(
    r"(?<=[.!?])[\"'\u201d\u2019)*_`]*(?:\s*\[\d{1,2}(?:\s*,\s*\d{1,2})*\])*\s+(?=[^\s.,;:!?)])|(?<=[\u3002\uff01\uff1f])"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|no|fig|mr|mrs|ms|dr|prof|st|incl|resp)|\b[A-Za-z]|\.\.)\.$", re.IGNORECASE
)
_BLOCK_LINE = re.compile(r"\s*(?:#{1,6}\s|[-*+]\s|\d{1,3}[.)]\s|\||>|</?[A-Za-z]|```|~~~|[=*~-]{3,}|$)")
_CLOSED = re.compile(r"\s*(?:#{1,6}\s|\||</?[A-Za-z]|```|~~~|[=*~-]{3,}|$)")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_COVER = "X"


class Span(NamedTuple):
    """A half-open range of characters."""

    start: int
    end: int


def split_prose(text: str, span: Span, hidden: Sequence[tuple[int, int]] = ()) -> list[Span]:
    """Return sentences of one paragraph; a marker behind a full stop belongs to the sentence before it.

    Args:
        text: the whole text.
        span: the paragraph.
        hidden: stretches, code for instance, whose signs end no sentence.
    """
    covered = list(text[span.start : span.end])
    for start, end in hidden:
        covered[start - span.start : end - span.start] = _COVER * (end - start)
    prose = "".join(covered)
    spans: list[Span] = []
    start = 0
    for match in _PROSE_END.finditer(prose):
        if _ABBREVIATION.search(prose, start, match.start()):
            continue
        spans.append(Span(span.start + start, span.start + match.end()))
        start = match.end()
    spans.append(Span(span.start + start, span.end))
    return [trimmed for each in spans if (trimmed := _trim(text, each)).start < trimmed.end]


def sentences(text: str) -> list[Span]:
    """Return the sentences of Markdown prose and the lines of its lists, tables, headings and code, without blanks."""
    spans: list[Span] = []
    for block in _blocks(text):
        start = block.start
        for match in _SENTENCE_END.finditer(text, block.start, block.end):
            if _ABBREVIATION.search(text, start, match.start()):
                continue
            spans.append(Span(start, match.start() if match.group().isspace() else match.end()))
            start = match.end()
        spans.append(Span(start, block.end))
    return [trimmed for span in spans if (trimmed := _trim(text, span)).start < trimmed.end]


def _blocks(text: str) -> list[Span]:
    """Paragraphs as one span each; a line that opens a block of its own begins a new one; code goes line by line."""
    blocks: list[Span] = []
    fenced = False
    position = 0
    for line in text.splitlines(keepends=True):
        fence = bool(_FENCE.match(line))
        end = position + len(line)
        if (
            blocks
            and not fenced
            and not _BLOCK_LINE.match(line)
            and blocks[-1].end == position
            and not _closed(text, blocks[-1])
        ):
            blocks[-1] = Span(blocks[-1].start, end)
        else:
            blocks.append(Span(position, end))
        fenced = fenced != fence
        position = end
    return blocks


def _closed(text: str, block: Span) -> bool:
    """Whether nothing can be appended to this block: a blank line, a heading, a table row, a fence."""
    return bool(_CLOSED.match(text[block.start : block.end].rstrip("\n")))


def _trim(text: str, span: Span) -> Span:
    piece = text[span.start : span.end]
    return Span(span.start + len(piece) - len(piece.lstrip()), span.start + len(piece.rstrip()))
