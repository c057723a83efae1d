"""Markdown from the parts that readers find: tables, headings, lists. Characters stay as they are, without escapes.

Only a bar inside a table's cell is escaped, since it would end the cell.
"""

from collections.abc import Iterable, Sequence

MAX_LEVEL = 6
_INDENT = "    "


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table, the first as its header; empty rows and columns at the edges are left out."""
    cells = [[as_cell(cell) for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    width = max((max((place for place, cell in enumerate(row) if cell), default=-1) + 1 for row in cells), default=0)
    if width == 0:
        return ""
    lines = [_row((row + [""] * width)[:width]) for row in cells]
    return "\n".join([lines[0], _row(["---"] * width), *lines[1:]])


def as_cell(text: str) -> str:
    """Return the text on one line, its bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def heading(level: int, text: str) -> str:
    """Return a heading of a level from 1 on, on one line; '' for no words."""
    words = " ".join(text.split())
    return f"{'#' * min(level, MAX_LEVEL)} {words}" if words else ""


def fenced(lines: Iterable[str]) -> str:
    """Return lines of code in a fence longer than any inside."""
    text = "\n".join(lines)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def link(text: str, target: str) -> str:
    """Return a link, or the text alone where the target is the text, or can't stand in Markdown."""
    bare = target.removeprefix("mailto:")
    if not text.strip() or bare == text.strip() or any(sign in target for sign in " <>\n") or not target:
        return text
    target = target.replace("(", "%28").replace(")", "%29")
    return f"[{text}]({target})" if "[" not in text and "]" not in text else f"{text} ({target})"


def list_item(depth: int, marker: str, text: str) -> str:
    """Return an item of a list at a depth from 0 on; its further lines are indented with it."""
    indent = _INDENT * depth
    lines = text.split("\n")
    hanging = indent + " " * (len(marker) + 1)
    return "\n".join([f"{indent}{marker} {lines[0]}", *(hanging + line if line else "" for line in lines[1:])])


class Blocks:
    """Blocks of a text in order: items of one list on lines of their own, lines of code in one fence."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._code: list[str] = []
        self._levels: list[int] = []

    def add(self, text: str) -> None:
        """Add a block."""
        self._end_code()
        if text := text.strip("\n").rstrip():
            self._levels.clear()
            self._parts.append(("\n\n" if self._parts else "") + text)

    def add_item(self, level: int, marker: str, text: str) -> None:
        """Add an item of a list; a level deeper than any before it counts as one deeper."""
        self._end_code()
        if not text.strip():
            return
        follows = bool(self._levels)
        while self._levels and self._levels[-1] > level:
            self._levels.pop()
        if not self._levels or self._levels[-1] < level:
            self._levels.append(level)
        gap = "\n" if follows else "\n\n"
        self._parts.append((gap if self._parts else "") + list_item(len(self._levels) - 1, marker, text.strip()))

    def add_code(self, line: str) -> None:
        """Add a line of code."""
        self._levels.clear()
        self._code.append(line)

    def _end_code(self) -> None:
        lines, self._code = self._code, []
        if any(line.strip() for line in lines):
            self._parts.append(("\n\n" if self._parts else "") + fenced(lines))

    def text(self) -> str:
        """Return all that was added."""
        self._end_code()
        return "".join(self._parts)
