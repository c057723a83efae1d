"""The structure of a Markdown text that chunking follows: sections, block boundaries, fenced code and tables."""

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from tasks.commonmark import block_parser


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what follows it up to the next: `text[start:end]` under `headings`."""

    start: int
    end: int
    headings: tuple[str, ...]
    own: tuple[str, ...]
    """Headings in force behind the section's first heading line."""


@dataclass(frozen=True, slots=True)
class Outline:
    """Sections, one a heading, the offsets at which a top-level block begins, and blocks within; all ascending.

    Attributes:
        fences: start and end of each fenced block.
        tables: start and end of each table, and its header row.
    """

    sections: tuple[Section, ...]
    boundaries: tuple[int, ...]
    fences: tuple[tuple[int, int], ...]
    tables: tuple[tuple[int, int, str], ...] = ()

    def last_boundary(self, offset: int) -> int | None:
        """Return the last boundary at `offset` or before."""
        place = bisect_left(self.boundaries, offset + 1) - 1
        return self.boundaries[place] if place >= 0 else None

    def fence_across(self, offset: int) -> tuple[int, int] | None:
        """Return the fenced block that begins before `offset` and ends behind it."""
        place = bisect_right(self.fences, (offset - 1, len(self.fences) and self.fences[-1][1])) - 1
        if place < 0:
            return None
        start, end = self.fences[place]
        return (start, end) if start < offset < end else None

    def header_across(self, offset: int) -> str:
        """Return the header row of the table that begins before `offset` and ends behind it, '' where there is none."""
        place = bisect_left(self.tables, (offset,)) - 1
        return self.tables[place][2] if place >= 0 and offset < self.tables[place][1] else ""


def outline_of(text: str) -> Outline:
    """Parse a Markdown text."""
    parser = block_parser()
    lines = _line_offsets(text)
    path: dict[int, str] = {}
    sections: list[Section] = []
    boundaries: list[int] = []
    fences: list[tuple[int, int]] = []
    tables: list[tuple[int, int, str]] = []
    start = 0
    headings: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    tokens = parser.parse(text)
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "fence" and token.map is not None:
            end = lines[token.map[1]]
            fences.append((lines[token.map[0]], end - 1 if text[end - 1 : end] == "\n" else end))
        if token.type == "table_open" and token.map is not None:
            head = lines[token.map[0]]
            tables.append((head, lines[token.map[1]], text[head : lines[token.map[0] + 1]].strip()))
        if token.level != 0 or token.map is None or token.nesting < 0:
            continue
        offset = lines[token.map[0]]
        boundaries.append(offset)
        if token.type == "heading_open" and following is not None:
            if offset > start:
                sections.append(Section(start, offset, headings, own))
            level = int(token.tag[1])
            path = {depth: name for depth, name in path.items() if depth < level}
            headings = tuple(path[depth] for depth in sorted(path))
            path[level] = following.content.strip()
            own = tuple(path[depth] for depth in sorted(path))
            start = offset
    sections.append(Section(start, len(text), headings, own))
    return Outline(tuple(sections), tuple(boundaries), tuple(fences), tuple(tables))


def _line_offsets(text: str) -> list[int]:
    offsets = [0]
    offsets.extend(match.end() for match in re.finditer("\n", text))
    return [*offsets, len(text)]
