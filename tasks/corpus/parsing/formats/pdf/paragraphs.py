"""Lines to Markdown: headings by size, lists, code as it stands, paragraphs whose words are joined over line ends."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tasks.corpus.parsing.formats.markdown import Blocks, heading
from tasks.corpus.parsing.formats.pdf.lines import Line

_BULLET = re.compile(r"[•◦▪▫●○■□‣⁃∙➢➤✓–—*·-]\s+(?=\S)|[\uf0b7\uf0a7\uf0d8]\s*")  # noqa: RUF001
_NUMBER = re.compile(r"(?:\d{1,3}|[a-zA-Z])[.)]\s+(?=\S)")
_END = re.compile(r"[.!?:;…。！？][\"'”’)\]]*$")  # noqa: RUF001
_CUT_WORD = re.compile(r"[^\W\d_][-\u00ad\u2010]$")
_LEADING = 1.6
_LEADING_OF_ROWS = 2.3
_MAX_INDENT = 16
_LARGER = 1.15
_MAX_HEADING = 200
_MAX_LEVELS = 4
_MAX_LISTING = 20
"""Lines: a longer text in nothing but the letters of a typewriter is a letter, and no code."""
_SHORT = 0.82


@dataclass(slots=True)
class Style:
    """The sizes of a document: that of its body, and the larger ones from large to small."""

    body: float
    headings: list[int] = field(default_factory=list)
    mostly_code: bool = False

    def level(self, line: Line) -> int:
        """Return the level of a heading of this line's size; 0: it is none."""
        size = round(line.size)
        return self.headings.index(size) + 1 if size in self.headings and not line.monospaced else 0


def style_of(lines: Sequence[Line]) -> Style:
    """Return the style of a whole document."""
    letters: Counter[int] = Counter()
    for line in lines:
        letters[round(line.size)] += len(line.text)
    if not letters:
        return Style(0)
    body = letters.most_common(1)[0][0]
    larger = sorted((size for size in letters if size >= _LARGER * body and size > body), reverse=True)
    code = sum(len(line.text) for line in lines if line.monospaced)
    return Style(
        body, larger[:_MAX_LEVELS], mostly_code=code > 0.8 * sum(letters.values()) and len(lines) > _MAX_LISTING
    )


def write_column(blocks: Blocks, lines: Sequence[Line], style: Style) -> None:
    """Add the lines of a column, in which every line end is looked at: does a paragraph go on?"""
    left, right = min(line.left for line in lines), max(line.right for line in lines)
    for group in _groups(lines, style, left, right):
        first = group[0]
        if first.monospaced and not style.mostly_code:
            _add_code(blocks, group)
        elif style.level(first) and sum(len(line.text) for line in group) <= _MAX_HEADING:
            blocks.add(heading(style.level(first), joined([line.text for line in group])))
        else:
            _add_paragraph(blocks, _with_breaks(group, right))


def _add_paragraph(blocks: Blocks, text: str) -> None:
    if bullet := _BULLET.match(text):
        blocks.add_item(0, "-", text[bullet.end() :])
    elif (number := _NUMBER.match(text)) and text[0].isdigit():
        blocks.add_item(0, text[: number.end()].strip(), text[number.end() :])
    else:
        blocks.add(text)


def _add_code(blocks: Blocks, lines: Sequence[Line]) -> None:
    """Lines of code, with blanks for what each is set in."""
    left = min(line.left for line in lines)
    for line in lines:
        width = (line.right - line.left) / max(len(line.text), 1)
        blocks.add_code(" " * round((line.left - left) / width if width else 0) + line.text)


def _groups(lines: Sequence[Line], style: Style, left: float, right: float) -> Iterator[list[Line]]:
    group: list[Line] = []
    for line in lines:
        if group and not _goes_on(group, line, style, left, right):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _goes_on(group: Sequence[Line], line: Line, style: Style, left: float, right: float) -> bool:
    before = group[-1]
    gap = line.base - before.base
    if before.monospaced != line.monospaced or gap < 0:
        return False
    if line.monospaced:
        return gap <= 3 * line.size and not style.mostly_code
    if _CUT_WORD.search(before.text) and line.text[:1].islower() and gap <= 2 * before.size:
        return True
    if abs(before.size - line.size) > 0.12 * max(before.size, line.size):
        return False
    is_row = before.num_pieces > 1 and line.num_pieces > 1
    leading = (_LEADING_OF_ROWS if is_row else _LEADING) * max(before.size, line.size) + 1.5
    if gap > leading or _BULLET.match(line.text) or _NUMBER.match(line.text):
        return False
    return not _begins_anew(before, line, left, right)


def _begins_anew(before: Line, line: Line, left: float, right: float) -> bool:
    """Whether a paragraph begins by an indent, or behind a line that ended early."""
    if _CUT_WORD.search(before.text):
        return False
    indented = line.left - left > 0.8 * line.size and before.left - left < 0.4 * line.size
    ended_early = before.right - left < _SHORT * (right - left)
    is_new_sentence = _END.search(before.text) is not None and not line.text[:1].islower()
    return (indented and is_new_sentence) or (ended_early and is_new_sentence)


def _with_breaks(lines: Sequence[Line], right: float) -> str:
    """The lines as one text; a line's end that was meant stays: the next word had room, or the indent changes.

    Between the first and the second line the indent of most paragraphs changes.
    """
    text = lines[0].text
    left = min(line.left for line in lines)
    for before, line in pairwise(lines):
        width = (line.right - line.left) / max(len(line.text), 1)
        needed = (len(line.text.split(" ", 1)[0]) + 1.5) * width
        has_room = before.right + needed < right - 0.5 * line.size
        moves = before is not lines[0] and abs(line.left - before.left) > 0.6 * line.size
        is_row = before.num_pieces > 1 or line.num_pieces > 1
        if (has_room or moves or is_row) and not _CUT_WORD.search(before.text):
            indent = round((line.left - left) / width if width else 0)
            text += "\n" + " " * (indent if indent <= _MAX_INDENT else 0) + line.text
        else:
            text = append(text, line.text)
    return text


def joined(lines: Sequence[str]) -> str:
    """Return lines as one, a word that was cut at a line's end whole again."""
    text = ""
    for line in lines:
        text = append(text, line) if text else line
    return text


def append(text: str, line: str) -> str:
    """Return a text with a further line behind it."""
    text = text.rstrip()
    if _CUT_WORD.search(text) and line[:1].isalpha():
        if line[0].islower():
            return text[:-1] + line
        return text + line
    return f"{text} {line}"


def goes_over(before: str, after: str) -> bool:
    """Return whether a paragraph at the end of a column goes on at the head of the next."""
    marks = ("#", "- ", "|", "```", "[^")
    if not before or before.startswith(marks) or after.startswith(marks) or _END.search(before):
        return False
    return after[:1].islower() and len(before) > 20
